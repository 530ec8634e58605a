import { type Config, fields, readConfig } from '../../src/config.js';
import { at, kindOf, listAt, type Manifest, nameOf, only, podOf, type Tree } from './manifests.js';

/** What the command line's clients read, beside the settings of a replica. */
const OF_CLIENTS = ['TARGET', 'WORKER', 'CLIENT_TLS_CA', 'CLIENT_TLS_CERT', 'CLIENT_TLS_KEY', 'CLIENT_TOKEN_FILE'];

/** Names of settings that a text uses and nobody reads. */
export function unknownSettings(text: string): string[] {
  const known = [...Object.keys(fields), ...OF_CLIENTS];
  return [...text.matchAll(/\bMUSTER_([A-Z][A-Z0-9_]*)\b/g)].map((match) => match[1] ?? '').filter((name) => !known.includes(name));
}

/** What a replica reads out of such an environment. Throws ConfigError. */
export function configOf(env: Record<string, string>): Config {
  return readConfig(env);
}

/** Of the end of a stopping replica, after STOP_GRACE_MS: what hangs is left behind after so long. */
const END_SECONDS = 5;

/** ms between the first look and the last that is needed to give up on a container. */
const probeSeconds = (probe: unknown) => Number(at(probe, 'periodSeconds') ?? 10) * Number(at(probe, 'failureThreshold') ?? 3);

/** What is wrong with the times of the replicas' pods, against each other and against their configuration. */
export function timeFaults(deployment: Tree, config: Config): string[] {
  const pod = at(deployment, 'spec', 'template', 'spec');
  const container = at(pod, 'containers', 0);
  const preStop = Number(at(container, 'lifecycle', 'preStop', 'sleep', 'seconds') ?? 0);
  const [lead, grace] = [config.STOP_LEAD_MS / 1000, config.STOP_GRACE_MS / 1000];
  const termination = Number(at(pod, 'terminationGracePeriodSeconds'));
  const ready = probeSeconds(at(container, 'readinessProbe'));
  const live = probeSeconds(at(container, 'livenessProbe'));
  const rules: [boolean, string][] = [
    [
      termination > preStop + lead + grace + END_SECONDS,
      `terminationGracePeriodSeconds ${termination} is not over preStop ${preStop} + lead ${lead} + grace ${grace} + ${END_SECONDS}`,
    ],
    [preStop >= 1, 'preStop does not wait for the endpoint slices'],
    [lead >= ready, `STOP_LEAD_MS ${lead} s is shorter than readiness takes to fail: ${ready} s`],
    [grace > lead, `STOP_GRACE_MS ${grace} s is not longer than STOP_LEAD_MS ${lead} s`],
    [live * 1000 > config.OUTAGE_GRACE_MS, `liveness gives up after ${live} s: an outage alone takes ${config.OUTAGE_GRACE_MS / 1000} s`],
    [live > ready, `liveness gives up (${live} s) before readiness (${ready} s)`],
  ];
  return rules.filter(([holds]) => !holds).map(([, fault]) => fault);
}

/** The ConfigMap of the replicas as an environment, with what its Deployment adds. */
export function environmentOf(manifests: readonly Manifest[]): Record<string, string> {
  const data = at(only(manifests, 'ConfigMap', 'muster'), 'data') as Record<string, string>;
  return { ...data, MUSTER_REPLICA_ADDR: '10.0.0.1:50051', MUSTER_REDIS_URL: 'redis://muster-redis:6379' };
}

const isSubset = (wanted: unknown, labels: unknown) => Object.entries((wanted ?? {}) as Tree).every(([key, value]) => at(labels, key) === value);

/** What one object says of others that is not so. `external`: Secrets that somebody else brings. */
export function referenceFaults(manifests: readonly Manifest[], external: readonly string[]): string[] {
  const workloads = manifests.filter((manifest) => podOf(manifest) !== undefined);
  const ofKind = (kind: string) => manifests.filter((manifest) => kindOf(manifest) === kind);
  const names = (kind: string) => ofKind(kind).map(nameOf);
  const secrets = [...names('Secret'), ...ofKind('Certificate').map(({ tree }) => String(at(tree, 'spec', 'secretName'))), ...external];
  const labelsOf = ({ tree }: Manifest) => at(tree, 'spec', 'template', 'metadata', 'labels');
  const matching = (selector: unknown) => workloads.filter((workload) => isSubset(selector, labelsOf(workload)));
  const portsOf = (workload: Manifest) => listAt(podOf(workload), 'containers').flatMap((container) => listAt(container, 'ports'));
  const faults: string[] = [];
  const check = (manifest: Manifest, holds: boolean, fault: string) => {
    if (!holds) faults.push(`${kindOf(manifest)} ${nameOf(manifest)}: ${fault}`);
  };

  for (const workload of workloads) {
    check(workload, isSubset(at(workload.tree, 'spec', 'selector', 'matchLabels'), labelsOf(workload)), 'its selector is not its own pods');
    const volumes = listAt(podOf(workload), 'volumes');
    for (const volume of volumes.filter((one) => at(one, 'secret') !== undefined)) {
      const secret = String(at(volume, 'secret', 'secretName'));
      check(workload, secrets.includes(secret), `there is no Secret ${secret}`);
    }
    for (const container of listAt(podOf(workload), 'containers')) {
      for (const source of listAt(container, 'envFrom')) {
        const name = String(at(source, 'configMapRef', 'name'));
        check(workload, names('ConfigMap').includes(name), `there is no ConfigMap ${name}`);
      }
      for (const { valueFrom } of listAt(container, 'env')) {
        const secret = at(valueFrom, 'secretKeyRef', 'name');
        check(workload, secret === undefined || secrets.includes(String(secret)), `there is no Secret ${secret}`);
      }
      const claims = listAt(workload.tree, 'spec', 'volumeClaimTemplates').map((claim) => at(claim, 'metadata', 'name'));
      for (const { name } of listAt(container, 'volumeMounts')) {
        check(workload, [...volumes.map((volume) => volume['name']), ...claims].includes(name), `there is no volume ${name}`);
      }
    }
  }
  for (const service of ofKind('Service')) {
    const pods = matching(at(service.tree, 'spec', 'selector'));
    check(service, pods.length === 1, `it selects ${pods.length} workloads`);
    for (const { targetPort, port } of listAt(service.tree, 'spec', 'ports')) {
      const there = pods.flatMap(portsOf).some(({ name, containerPort }) => (targetPort ?? port) === name || (targetPort ?? port) === containerPort);
      check(service, there, `no pod has the port ${targetPort ?? port}`);
    }
  }
  for (const kind of ['PodDisruptionBudget', 'PodMonitor']) {
    for (const one of ofKind(kind)) check(one, matching(at(one.tree, 'spec', 'selector', 'matchLabels')).length === 1, 'it selects no workload');
  }
  for (const monitor of ofKind('PodMonitor')) {
    const ports = matching(at(monitor.tree, 'spec', 'selector', 'matchLabels')).flatMap(portsOf);
    for (const { port } of listAt(monitor.tree, 'spec', 'podMetricsEndpoints')) {
      check(
        monitor,
        ports.some(({ name }) => name === port),
        `no pod has the port ${port}`,
      );
    }
  }
  for (const kind of ['HorizontalPodAutoscaler', 'ScaledObject']) {
    for (const scaler of ofKind(kind)) {
      const target = String(at(scaler.tree, 'spec', 'scaleTargetRef', 'name'));
      check(scaler, names('Deployment').includes(target), `there is no Deployment ${target}`);
    }
  }
  for (const route of ofKind('GRPCRoute')) {
    for (const { name } of listAt(route.tree, 'spec', 'parentRefs')) check(route, names('Gateway').includes(String(name)), `no Gateway ${name}`);
    for (const { name, port } of listAt(route.tree, 'spec', 'rules').flatMap((rule) => listAt(rule, 'backendRefs'))) {
      const service = ofKind('Service').find((one) => nameOf(one) === name);
      check(
        route,
        listAt(service?.tree, 'spec', 'ports').some((entry) => entry['port'] === port),
        `there is no Service ${name} with port ${port}`,
      );
    }
  }
  for (const certificate of ofKind('Certificate')) {
    const issuer = String(at(certificate.tree, 'spec', 'issuerRef', 'name'));
    check(certificate, names('Issuer').includes(issuer), `there is no Issuer ${issuer}`);
  }
  return faults;
}
