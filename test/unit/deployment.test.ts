import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { type Config, fields, readConfig } from '../../src/config.js';
import { ROOT, sourcesUnder } from '../helpers/source.js';

/** What is shipped for running Muster must say only what the configuration knows, and times that agree. */
type Tree = Record<string, unknown>;

const read = (path: string) => readFileSync(new URL(path, ROOT), 'utf8');

/** The value at a path of names and indexes; undefined when there is none. */
function at(tree: unknown, ...path: (string | number)[]): unknown {
  return path.reduce<unknown>((node, step) => (node !== null && typeof node === 'object' ? (node as Tree)[step] : undefined), tree);
}

const manifests = sourcesUnder('k8s', /\.yaml$/).flatMap(({ path, text }) =>
  parseAllDocuments(text).map((document) => ({ path, errors: document.errors, tree: document.toJS() as Tree })),
);

function manifest(kind: string, name: string): Tree {
  const found = manifests.find(({ tree }) => tree.kind === kind && at(tree, 'metadata', 'name') === name);
  if (found === undefined) throw new Error(`there is no ${kind} ${name}`);
  return found.tree;
}

const compose = parse(read('docker-compose.yml'), { merge: true }) as Tree;
const deployment = manifest('Deployment', 'muster');
const configMap = at(manifest('ConfigMap', 'muster'), 'data') as Record<string, string>;
const pod = at(deployment, 'spec', 'template', 'spec');
const container = at(pod, 'containers', 0);

/** Names of settings that a text uses and the configuration does not have. */
function unknownSettings(text: string): string[] {
  return [...text.matchAll(/\bMUSTER_([A-Z][A-Z0-9_]*)\b/g)].map((match) => match[1] ?? '').filter((name) => !(name in fields));
}

function replicasOfCompose(): [string, Tree][] {
  return Object.entries(at(compose, 'services') as Record<string, Tree>).filter(([name]) => name.startsWith('muster-'));
}

const seconds = (text: unknown) => Number(/^(\d+)s$/.exec(String(text))?.[1]);
const stopSeconds = (config: Config) => (config.STOP_LEAD_MS + config.STOP_GRACE_MS) / 1000;

test('every file parses', () => {
  expect(manifests.length).toBeGreaterThan(6);
  for (const { path, errors } of manifests) expect(errors, path).toEqual([]);
});

test.each(['docker-compose.yml', 'Dockerfile', ...sourcesUnder('k8s', /\.yaml$/).map(({ path }) => path)])('%s names settings that exist', (path) => {
  // A remark may name the variables that Kubernetes would make of a Service.
  const text = path === 'Dockerfile' ? read(path) : read(path).replace(/^\s*#.*$/gm, '');
  expect(unknownSettings(text)).toEqual([]);
  expect(unknownSettings(`${text}\nMUSTER_LEASES_MS`)).toEqual(['LEASES_MS']);
});

test('the replicas of compose start with what they are told, and have the time to stop', () => {
  const replicas = replicasOfCompose();
  expect(replicas.map(([name]) => name)).toEqual(['muster-1', 'muster-2', 'muster-3']);
  for (const [name, service] of replicas) {
    const config = readConfig(service.environment as Record<string, string>);
    expect(config.REPLICA_ADDR).toBe(`${name}:50051`);
    expect(config.REDIS_URL).toBe('redis://redis:6379');
    expect(seconds(service.stop_grace_period)).toBeGreaterThan(stopSeconds(config));
  }
});

test('Redis keeps its data over a restart and evicts nothing, in compose and in the cluster', () => {
  const commands = [
    at(compose, 'services', 'redis', 'command'),
    at(manifest('StatefulSet', 'muster-redis'), 'spec', 'template', 'spec', 'containers', 0, 'args'),
  ];
  for (const command of commands) {
    const line = (command as string[]).join(' ');
    expect(line).toContain('--appendonly yes');
    expect(line).toContain('--maxmemory-policy noeviction');
  }
});

test('the pods start with what they are told, and have the time to stop', () => {
  const config = readConfig({ ...configMap, MUSTER_REPLICA_ADDR: '10.0.0.1:50051', MUSTER_REDIS_URL: 'redis://muster-redis:6379' });
  expect(at(pod, 'terminationGracePeriodSeconds')).toBeGreaterThan(stopSeconds(config));
  // The endpoint slices need both failed looks before they forget a pod whose readiness went, unless its deletion told them.
  const probe = at(container, 'readinessProbe') as { periodSeconds: number; failureThreshold: number };
  expect(config.STOP_LEAD_MS / 1000).toBeGreaterThanOrEqual(probe.periodSeconds * probe.failureThreshold);
});

test('the ports are those that the configuration names, and probes ask for what is served', () => {
  const ports = at(container, 'ports') as { name: string; containerPort: number }[];
  const port = (name: string) => ports.find((entry) => entry.name === name)?.containerPort;
  expect(configMap.MUSTER_GRPC_ADDR).toBe(`0.0.0.0:${port('grpc')}`);
  expect(configMap.MUSTER_HTTP_ADDR).toBe(`0.0.0.0:${port('http')}`);
  expect(at(container, 'readinessProbe', 'httpGet')).toEqual({ path: '/readyz', port: 'http' });
  expect(at(container, 'livenessProbe', 'httpGet')).toEqual({ path: '/livez', port: 'http' });
  expect(read('Dockerfile')).toMatch(/EXPOSE 50051 8080[\s\S]*127\.0\.0\.1:8080\/livez/);
});

test('a replica tells others the address of its own pod', () => {
  const env = at(container, 'env') as { name: string; value?: string }[];
  expect(env.find(({ name }) => name === 'MUSTER_REPLICA_ADDR')?.value).toBe('$(POD_IP):50051');
  expect(env.findIndex(({ name }) => name === 'POD_IP')).toBeLessThan(env.findIndex(({ name }) => name === 'MUSTER_REPLICA_ADDR'));
});

test('Kubernetes puts no variables of Services into the pods: a replica refuses settings that it does not know', () => {
  expect(at(pod, 'enableServiceLinks')).toBe(false);
  expect(() => readConfig({ MUSTER_PORT: 'tcp://10.0.0.1:50051' })).toThrow(/MUSTER_PORT: no such setting/);
});

test('every workload meets the restricted standard for pods', () => {
  const workloads = manifests.filter(({ tree }) => tree.kind === 'Deployment' || tree.kind === 'StatefulSet');
  expect(workloads).toHaveLength(2);
  for (const { path, tree } of workloads) {
    const spec = at(tree, 'spec', 'template', 'spec');
    expect(at(spec, 'securityContext'), path).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
    for (const entry of at(spec, 'containers') as Tree[]) {
      expect(entry.securityContext, path).toMatchObject({ allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } });
    }
  }
  expect(read('Dockerfile')).toMatch(/^USER [1-9]\d*$/m);
});

test('what the kustomizations name is there', () => {
  for (const folder of ['k8s/base', 'k8s/quickstart']) {
    const { resources } = parse(read(`${folder}/kustomization.yaml`)) as { resources: string[] };
    for (const name of resources) {
      const path = name.endsWith('.yaml') ? `${folder}/${name}` : 'k8s/base/kustomization.yaml';
      expect(read(path).length, name).toBeGreaterThan(0);
    }
  }
  expect(manifest('Service', 'muster-headless')).toMatchObject({ spec: { clusterIP: 'None' } });
});
