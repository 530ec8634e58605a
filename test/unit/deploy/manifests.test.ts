import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { readConfig } from '../../../src/config.js';
import { configOf, environmentOf, referenceFaults, timeFaults, unknownSettings } from '../../helpers/manifest-checks.js';
import { allManifests, at, isKustomization, isPatch, kindOf, listAt, nameOf, objectsOf, only, type Tree } from '../../helpers/manifests.js';
import { ROOT, sourcesUnder } from '../../helpers/source.js';

/** What is shipped for a cluster must say only what the configuration knows, name only what is there, and have times that agree. */
const manifests = allManifests();
const objects = objectsOf(manifests);
const deployment = only(objects, 'Deployment', 'muster');
const configMap = at(only(objects, 'ConfigMap', 'muster'), 'data') as Record<string, string>;
const pod = at(deployment, 'spec', 'template', 'spec');
const container = at(pod, 'containers', 0);
const config = configOf(environmentOf(objects));
/** Made by kustomize, or by whoever runs it. */
const SECRETS = ['muster-redis', 'muster-tokens', 'muster-gateway-tls'];

const files = sourcesUnder('k8s', /\.yaml$/);

test.each(files.map(({ path, text }) => [path, text]))('%s names settings that exist', (_, text) => {
  // A remark may name the variables that Kubernetes would make of a Service.
  const code = text.replace(/^\s*#.*$/gm, '');
  expect(unknownSettings(code)).toEqual([]);
  expect(unknownSettings(`${code}\nMUSTER_LEASES_MS`)).toEqual(['LEASES_MS']);
});

test('whatever one object says of another is so', () => {
  expect(referenceFaults(objects, SECRETS)).toEqual([]);
  const without = objects.filter((object) => !(kindOf(object) === 'Deployment' && nameOf(object) === 'muster-worker'));
  expect(referenceFaults(without, SECRETS)).toContain('ScaledObject muster-worker: there is no Deployment muster-worker');
  expect(referenceFaults(objects, ['muster-gateway-tls'])).toContain('Deployment muster: there is no Secret muster-redis');
});

test('the times of the pods agree with each other and with the configuration', () => {
  expect(timeFaults(deployment, config)).toEqual([]);
  const later = configOf({ ...environmentOf(objects), MUSTER_STOP_LEAD_MS: '1000', MUSTER_STOP_GRACE_MS: '29000' });
  const faults = timeFaults(deployment, { ...later, STOP_GRACE_MS: 40_000, OUTAGE_GRACE_MS: 60_000 });
  expect(faults.map((fault) => fault.split(' ')[0])).toEqual(['terminationGracePeriodSeconds', 'STOP_LEAD_MS', 'liveness']);
});

test('the ports are those that the configuration names, and probes ask for what is served', () => {
  const port = (name: string) => listAt(container, 'ports').find((entry) => entry['name'] === name)?.['containerPort'];
  expect(configMap['MUSTER_GRPC_ADDR']).toBe(`0.0.0.0:${port('grpc')}`);
  expect(configMap['MUSTER_HTTP_ADDR']).toBe(`0.0.0.0:${port('http')}`);
  expect(at(container, 'readinessProbe', 'httpGet')).toEqual({ path: '/readyz', port: 'http' });
  expect(at(container, 'livenessProbe', 'httpGet')).toEqual({ path: '/livez', port: 'http' });
});

test('a replica tells others the address of its own pod', () => {
  const env = listAt(container, 'env');
  expect(env.find(({ name }) => name === 'MUSTER_REPLICA_ADDR')?.['value']).toBe('$(POD_IP):50051');
  expect(env.findIndex(({ name }) => name === 'POD_IP')).toBeLessThan(env.findIndex(({ name }) => name === 'MUSTER_REPLICA_ADDR'));
  expect(() => readConfig({ MUSTER_PORT: 'tcp://10.0.0.1:50051' })).toThrow(/MUSTER_PORT: no such setting/);
});

test('three replicas at the least, spread by rollout, of which a drain takes one, ready or not', () => {
  expect(at(deployment, 'spec', 'replicas')).toBeGreaterThanOrEqual(3);
  expect(at(only(objects, 'HorizontalPodAutoscaler', 'muster'), 'spec', 'minReplicas')).toBeGreaterThanOrEqual(3);
  for (const constraint of listAt(pod, 'topologySpreadConstraints')) expect(constraint).toMatchObject({ matchLabelKeys: ['pod-template-hash'] });
  expect(only(objects, 'PodDisruptionBudget', 'muster')).toMatchObject({ spec: { maxUnavailable: 1, unhealthyPodEvictionPolicy: 'AlwaysAllow' } });
});

test('one Service gives every replica, the other one address; both say that it is HTTP/2', () => {
  expect(only(objects, 'Service', 'muster-headless')).toMatchObject({ spec: { clusterIP: 'None' } });
  for (const name of ['muster', 'muster-headless']) {
    const [port] = listAt(only(objects, 'Service', name), 'spec', 'ports');
    expect(port).toMatchObject({ port: 50051, targetPort: 'grpc', appProtocol: 'kubernetes.io/h2c' });
  }
});

test('Redis keeps its data over a restart and evicts nothing', () => {
  const line = (at(only(objects, 'StatefulSet', 'muster-redis'), 'spec', 'template', 'spec', 'containers', 0, 'args') as string[]).join(' ');
  expect(line).toContain('--appendonly yes');
  expect(line).toContain('--maxmemory-policy noeviction');
});

test('the autoscaler asks the replicas where they are, for the pool and the slots of the workers that it scales', () => {
  const [trigger] = listAt(only(objects, 'ScaledObject', 'muster-worker'), 'spec', 'triggers');
  const metadata = at(trigger, 'metadata') as Record<string, string>;
  const args = at(only(objects, 'Deployment', 'muster-worker'), 'spec', 'template', 'spec', 'containers', 0, 'args') as string[];
  const argument = (name: string) => args[args.indexOf(name) + 1];
  expect([metadata['pool'], metadata['slotsPerWorker']]).toEqual([argument('--pool'), argument('--slots')]);
  expect(metadata['scalerAddress']).toBe('dns:///muster-headless.muster.svc.cluster.local:50051');
});

test('a kustomization names only what is there, and nothing lies beside it unnamed', () => {
  const kustomizations = manifests.filter(isKustomization);
  expect(kustomizations.length).toBeGreaterThan(10);
  for (const { path, tree } of kustomizations) {
    const folder = new URL(`./${path.replace(/[^/]*$/, '')}`, ROOT);
    const patches = listAt(tree, 'patches').flatMap((patch) => (patch['path'] === undefined ? [] : [String(patch['path'])]));
    const named = [...((tree['resources'] as string[]) ?? []), ...((tree['components'] as string[]) ?? []), ...patches];
    for (const name of named) {
      const file = new URL(name.endsWith('.yaml') ? name : `${name}/kustomization.yaml`, folder).pathname.slice(ROOT.pathname.length);
      expect(
        files.map((source) => source.path),
        path,
      ).toContain(file);
    }
    const beside = files
      .map((source) => new URL(source.path, ROOT))
      .filter(({ pathname }) => pathname.slice(0, pathname.lastIndexOf('/') + 1) === folder.pathname);
    const unnamed = beside
      .map(({ pathname }) => pathname.slice(folder.pathname.length))
      .filter((name) => ![...named, 'kustomization.yaml'].includes(name));
    expect(unnamed, path).toEqual([]);
  }
  for (const { path, tree } of manifests.filter(isPatch)) expect(at(tree, 'spec', 'selector'), `${path} is a patch`).toBeUndefined();
});

test('a patch in a kustomization is one', () => {
  const texts = manifests.filter(isKustomization).flatMap(({ tree }) => listAt(tree, 'patches').map(({ patch }) => patch as string | undefined));
  const operations = texts.filter((text) => text !== undefined).flatMap((text) => parse(text) as Tree[]);
  expect(operations.length).toBeGreaterThan(10);
  for (const operation of operations) {
    expect(['add', 'replace', 'remove']).toContain(operation['op']);
    expect(operation['path']).toMatch(/^\/(data|spec)\//);
    expect('value' in operation).toBe(operation['op'] !== 'remove');
  }
});

const RULES = new URL('deploy/monitoring/rules.yml', ROOT);

test(`the operator's alerts are Prometheus' own${existsSync(RULES) ? '' : ' (not compared: there are none)'}`, () => {
  const { groups } = at(only(objects, 'PrometheusRule', 'muster'), 'spec') as { groups: unknown };
  if (existsSync(RULES)) expect(groups, 'npm run rules').toEqual((parse(readFileSync(RULES, 'utf8')) as Tree)['groups']);
  expect(listAt({ groups }, 'groups').flatMap((group) => listAt(group, 'rules')).length).toBeGreaterThan(5);
});
