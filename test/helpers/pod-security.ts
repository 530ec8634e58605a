import { at, listAt, type Tree } from './manifests.js';

/**
 * The `restricted` profile of Kubernetes' Pod Security Standards, `baseline` included: what a namespace that enforces it asks of a pod.
 * https://kubernetes.io/docs/concepts/security/pod-security-standards
 */
export interface PodRule {
  name: string;
  /** What breaks it; empty: nothing. */
  broken(pod: Tree): string[];
  /** Laid over a pod that keeps every rule, it breaks this one: a rule that cannot fail is none. */
  bad: { pod?: Tree; container?: Tree };
}

const VOLUMES = ['configMap', 'csi', 'downwardAPI', 'emptyDir', 'ephemeral', 'persistentVolumeClaim', 'projected', 'secret'];
const PROFILES = ['RuntimeDefault', 'Localhost'];
const SELINUX_TYPES = ['', 'container_t', 'container_init_t', 'container_kvm_t', 'container_engine_t'];
const SYSCTLS = [
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.ip_unprivileged_port_start',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.ping_group_range',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
];
const POD_CONTEXT = { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } };
const HANDLERS = ['livenessProbe', 'readinessProbe', 'startupProbe'];

const containersOf = (pod: Tree) => ['initContainers', 'containers', 'ephemeralContainers'].flatMap((list) => listAt(pod, list));

/** A rule of each container; `broken` says whether that one breaks it. */
function ofContainers(name: string, bad: Tree, broken: (container: Tree, pod: Tree) => boolean): PodRule {
  return {
    name,
    bad: { container: bad },
    broken: (pod) => {
      const containers = containersOf(pod);
      if (containers.length === 0) return ['it has no containers'];
      return containers.filter((container) => broken(container, pod)).map((container) => `container ${String(container['name'])}`);
    },
  };
}

function ofPod(name: string, bad: Tree, broken: (pod: Tree) => boolean): PodRule {
  return { name, bad: { pod: bad }, broken: (pod) => (broken(pod) ? ['the pod'] : []) };
}

/** What the container says, else what its pod says. */
const setting = (container: Tree, pod: Tree, ...path: string[]) => at(container, 'securityContext', ...path) ?? at(pod, 'securityContext', ...path);

const inContext = (value: Tree) => ({ securityContext: value });

export const podRules: PodRule[] = [
  ofPod('the namespaces of the host are not shared', { hostNetwork: true }, (pod) =>
    ['hostNetwork', 'hostPID', 'hostIPC'].some((field) => ![undefined, false].includes(pod[field] as undefined)),
  ),
  ofContainers('no ports of the host', { ports: [{ containerPort: 1, hostPort: 1 }] }, (container) =>
    listAt(container, 'ports').some(({ hostPort }) => hostPort !== undefined && hostPort !== 0),
  ),
  ofContainers('no process of a Windows host', inContext({ windowsOptions: { hostProcess: true } }), (container, pod) =>
    Boolean(setting(container, pod, 'windowsOptions', 'hostProcess')),
  ),
  ofContainers('not privileged', inContext({ privileged: true }), (container) => Boolean(at(container, 'securityContext', 'privileged'))),
  ofContainers('every capability is dropped', inContext({ capabilities: { drop: ['NET_RAW'] } }), (container) => {
    const drop = at(container, 'securityContext', 'capabilities', 'drop');
    return !(Array.isArray(drop) && drop.includes('ALL'));
  }),
  ofContainers('no capability but NET_BIND_SERVICE is added', inContext({ capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] } }), (container) => {
    const added = at(container, 'securityContext', 'capabilities', 'add');
    return Array.isArray(added) && added.some((capability) => capability !== 'NET_BIND_SERVICE');
  }),
  ofContainers(
    'privileges do not grow',
    inContext({ allowPrivilegeEscalation: true }),
    (container) => at(container, 'securityContext', 'allowPrivilegeEscalation') !== false,
  ),
  ofContainers('not root', inContext({ runAsNonRoot: false }), (container, pod) => setting(container, pod, 'runAsNonRoot') !== true),
  ofContainers('no user 0', inContext({ runAsUser: 0 }), (container, pod) => setting(container, pod, 'runAsUser') === 0),
  ofContainers(
    'system calls are filtered',
    inContext({ seccompProfile: { type: 'Unconfined' } }),
    (container, pod) => !PROFILES.includes(String(setting(container, pod, 'seccompProfile', 'type'))),
  ),
  ofContainers('AppArmor is on', inContext({ appArmorProfile: { type: 'Unconfined' } }), (container, pod) => {
    const type = setting(container, pod, 'appArmorProfile', 'type');
    return type !== undefined && !PROFILES.includes(String(type));
  }),
  ofContainers('SELinux as containers have it', inContext({ seLinuxOptions: { user: 'root' } }), (container, pod) => {
    const options = setting(container, pod, 'seLinuxOptions');
    return (at(options, 'user') ?? at(options, 'role')) !== undefined || !SELINUX_TYPES.includes(String(at(options, 'type') ?? ''));
  }),
  ofContainers('/proc is masked', inContext({ procMount: 'Unmasked' }), (container) => {
    const mount = at(container, 'securityContext', 'procMount');
    return mount !== undefined && mount !== 'Default';
  }),
  ofPod('sysctls that are safe', { securityContext: { ...POD_CONTEXT, sysctls: [{ name: 'kernel.msgmax', value: '1' }] } }, (pod) =>
    listAt(pod, 'securityContext', 'sysctls').some(({ name }) => !SYSCTLS.includes(String(name))),
  ),
  ofPod('volumes of harmless types', { volumes: [{ name: 'host', hostPath: { path: '/' } }] }, (pod) =>
    listAt(pod, 'volumes').some((volume) => Object.keys(volume).some((type) => type !== 'name' && !VOLUMES.includes(type))),
  ),
  ofContainers('probes ask nobody else', { livenessProbe: { httpGet: { host: '169.254.169.254', path: '/', port: 80 } } }, (container) => {
    const handlers = [...HANDLERS.map((name) => container[name]), at(container, 'lifecycle', 'postStart'), at(container, 'lifecycle', 'preStop')];
    return handlers.some((handler) => ['httpGet', 'tcpSocket'].some((way) => at(handler, way, 'host') !== undefined));
  }),
];

/** A pod that keeps every rule. */
const GOOD: Tree = {
  securityContext: POD_CONTEXT,
  containers: [{ name: 'main', securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } } }],
};

/** A pod that breaks that rule; without one, a pod that keeps them all. */
export function podFor(rule?: PodRule): Tree {
  const { pod = {}, container = {} } = rule?.bad ?? {};
  const [main = {}] = listAt(GOOD, 'containers');
  const securityContext = { ...(main['securityContext'] as Tree), ...(container['securityContext'] as Tree | undefined) };
  return { ...GOOD, ...pod, containers: [{ ...main, ...container, securityContext }] };
}

/** Which rules a pod breaks, and where. */
export function brokenRules(pod: Tree): string[] {
  return podRules.flatMap((rule) => rule.broken(pod).map((where) => `${where}: ${rule.name}`));
}
