import { Certificate } from '@kubernetes-models/cert-manager/cert-manager.io/v1/Certificate';
import { Issuer } from '@kubernetes-models/cert-manager/cert-manager.io/v1/Issuer';
import { Gateway } from '@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1/Gateway';
import { GRPCRoute } from '@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1alpha2/GRPCRoute';
import { ScaledObject } from '@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject';
import { TriggerAuthentication } from '@kubernetes-models/keda/keda.sh/v1alpha1/TriggerAuthentication';
import { PodMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor';
import { PrometheusRule } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule';
import { Deployment } from 'kubernetes-models/apps/v1/Deployment';
import { StatefulSet } from 'kubernetes-models/apps/v1/StatefulSet';
import { HorizontalPodAutoscaler } from 'kubernetes-models/autoscaling/v2/HorizontalPodAutoscaler';
import { NetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy';
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1/PodDisruptionBudget';
import { ConfigMap } from 'kubernetes-models/v1/ConfigMap';
import { Namespace } from 'kubernetes-models/v1/Namespace';
import { Secret } from 'kubernetes-models/v1/Secret';
import { Service } from 'kubernetes-models/v1/Service';
import type { Manifest, Tree } from './manifests.js';

/** A class made from the schema of a kind, as its API server has it. */
interface Model {
  apiVersion: string;
  kind: string;
  /** Throws for what breaks the schema, but not for fields that it does not have. */
  prototype: { validate(): void };
}

const MODELS: Model[] = [
  ...[ConfigMap, Namespace, Secret, Service, Deployment, StatefulSet, HorizontalPodAutoscaler, NetworkPolicy, PodDisruptionBudget],
  ...[Certificate, Issuer, Gateway, GRPCRoute, ScaledObject, TriggerAuthentication, PodMonitor, PrometheusRule],
];

/** Schemas of an older version, where what we use has not changed since. */
const SAME_AS: Record<string, string> = { 'gateway.networking.k8s.io/v1 GRPCRoute': 'gateway.networking.k8s.io/v1alpha2' };

/** What an API server would not take about an object, or would silently drop; empty: nothing. */
export function schemaFaults({ tree }: Manifest): string[] {
  const apiVersion = SAME_AS[`${tree['apiVersion']} ${tree['kind']}`] ?? tree['apiVersion'];
  const model = MODELS.find((one) => one.apiVersion === apiVersion && one.kind === tree['kind']);
  if (model === undefined) return [`no schema for ${tree['apiVersion']} ${tree['kind']}: add it to MODELS`];
  const read = new Set<string>();
  try {
    // The model's own constructor would copy the object; what it reads of the object itself is what we want to know.
    model.prototype.validate.call(watched({ ...tree, apiVersion }, '', read, model.prototype));
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
  return pathsOf(tree)
    .filter((path) => !read.has(path))
    .map((path) => `${path}: there is no such field`);
}

/** The object, noting the path of each field that is asked for: a schema's code asks for every field that it knows. */
function watched<T extends object>(value: T, path: string, read: Set<string>, prototype?: object): T {
  const target = prototype === undefined ? value : Object.assign(Object.create(prototype), value);
  return new Proxy(target, {
    get(object, key, receiver) {
      const found: unknown = Reflect.get(object, key, receiver);
      if (typeof key !== 'string' || !Object.hasOwn(object, key)) return found;
      const inside = `${path}/${key}`;
      read.add(inside);
      return found !== null && typeof found === 'object' ? watched(found, inside, read) : found;
    },
  });
}

/** The path of every field, at every depth. */
function pathsOf(value: unknown, path = ''): string[] {
  if (value === null || typeof value !== 'object') return [];
  return Object.entries(value as Tree).flatMap(([key, inside]) => [`${path}/${key}`, ...pathsOf(inside, `${path}/${key}`)]);
}
