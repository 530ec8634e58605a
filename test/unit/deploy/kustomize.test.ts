import { describe, expect, test } from 'vitest';
import { canRender, render } from '../../helpers/kustomize.js';
import { configOf, environmentOf, referenceFaults, timeFaults, unknownSettings } from '../../helpers/manifest-checks.js';
import { at, kindOf, listAt, type Manifest, nameOf, only, podOf } from '../../helpers/manifests.js';
import { brokenRules } from '../../helpers/pod-security.js';
import { schemaFaults } from '../../helpers/schemas.js';

/** What a cluster would get, after every patch. */
const FOLDERS = [
  { folder: 'k8s/base', external: ['muster-redis'] },
  { folder: 'k8s/quickstart', external: [] },
  { folder: 'k8s/overlays/dev', external: [] },
  { folder: 'k8s/overlays/prod', external: ['muster-redis', 'muster-server-tls', 'muster-worker-tls'] },
  { folder: 'k8s/overlays/prod-operators', external: ['muster-redis'] },
];

/** The groups of a cluster that has no operators. */
const OF_KUBERNETES = ['v1', 'apps/v1', 'policy/v1', 'autoscaling/v2', 'networking.k8s.io/v1'];

/** Names with the hash of their content, as they were before. */
function unhashed(manifest: Manifest): Manifest {
  const name = nameOf(manifest).replace(/^(muster-redis)-[a-z0-9]{10}$/, '$1');
  return { ...manifest, tree: { ...manifest.tree, metadata: { ...(at(manifest.tree, 'metadata') as object), name } } };
}

describe.runIf(canRender)(`kustomize renders${canRender ? '' : ' (not tried: neither kustomize nor kubectl is here; npm run k8s)'}`, () => {
  test.each(FOLDERS)('$folder, to objects that the API takes, in pods of the restricted profile, that name what is there', ({ folder, external }) => {
    const manifests = render(folder);
    expect(manifests.flatMap((manifest) => schemaFaults(manifest).map((fault) => `${kindOf(manifest)} ${nameOf(manifest)} ${fault}`))).toEqual([]);
    expect(manifests.map(podOf).flatMap((pod) => (pod === undefined ? [] : brokenRules(pod)))).toEqual([]);
    expect(referenceFaults(manifests, external)).toEqual([]);
    expect(unknownSettings(JSON.stringify(manifests.map(({ tree }) => tree)))).toEqual([]);
  });

  test.each(FOLDERS)('$folder, with times that agree', ({ folder }) => {
    const manifests = render(folder);
    expect(timeFaults(only(manifests, 'Deployment', 'muster'), configOf(environmentOf(manifests)))).toEqual([]);
  });

  test.each(FOLDERS.slice(1))('$folder, all in one namespace that enforces the restricted profile', ({ folder }) => {
    const manifests = render(folder);
    const [namespace] = manifests.filter((manifest) => kindOf(manifest) === 'Namespace');
    expect(at(namespace?.tree, 'metadata', 'labels', 'pod-security.kubernetes.io/enforce')).toBe('restricted');
    const elsewhere = manifests.filter(
      ({ tree }) => tree['kind'] !== 'Namespace' && at(tree, 'metadata', 'namespace') !== nameOf(namespace as Manifest),
    );
    expect(elsewhere.map(nameOf)).toEqual([]);
  });

  test('the quickstart, with the Redis that its replicas are told of', () => {
    const manifests = render('k8s/quickstart');
    const secret = only(manifests.map(unhashed), 'Secret', 'muster-redis');
    expect(Buffer.from(String(at(secret, 'data', 'url')), 'base64').toString()).toBe('redis://muster-redis:6379');
    expect(only(manifests, 'Service', 'muster-redis')).toMatchObject({ spec: { ports: [{ port: 6379 }] } });
  });

  test.each(FOLDERS.filter(({ folder }) => !folder.endsWith('-operators')))('$folder, to objects that every cluster knows', ({ folder }) => {
    const others = render(folder).filter(({ tree }) => !OF_KUBERNETES.includes(String(tree['apiVersion'])));
    expect(others.map((manifest) => `${kindOf(manifest)} ${nameOf(manifest)}`)).toEqual([]);
  });

  test('the overlays for production, over TLS, with the numbers left to the autoscalers', () => {
    expect(only(render('k8s/overlays/prod'), 'Deployment', 'muster')).not.toHaveProperty('spec.replicas');
    expect(at(only(render('k8s/overlays/prod'), 'ConfigMap', 'muster'), 'data')).not.toHaveProperty('MUSTER_INSECURE');
    const manifests = render('k8s/overlays/prod-operators');
    for (const name of ['muster', 'muster-worker']) expect(only(manifests, 'Deployment', name)).not.toHaveProperty('spec.replicas');
    expect(at(only(manifests, 'ConfigMap', 'muster'), 'data')).not.toHaveProperty('MUSTER_INSECURE');
    for (const name of ['muster', 'muster-headless']) {
      expect(listAt(only(manifests, 'Service', name), 'spec', 'ports')).toMatchObject([{ appProtocol: 'https' }]);
    }
    const names = at(only(manifests, 'Certificate', 'muster-server'), 'spec', 'dnsNames') as string[];
    const [trigger] = listAt(only(manifests, 'ScaledObject', 'muster-worker'), 'spec', 'triggers');
    const [, host] = /^dns:\/\/\/(.*):50051$/.exec(String(at(trigger, 'metadata', 'scalerAddress'))) ?? [];
    expect(names).toContain(host);
    expect(at(trigger, 'authenticationRef', 'name')).toBe('muster-keda');
  });
});

test.runIf(!canRender)('without kustomize the remedy is told', () => {
  expect(() => render('k8s/base')).toThrow('npm run k8s');
});
