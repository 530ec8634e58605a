import { invalid, MusterError } from '../domain/errors.js';
import { canonicalIp } from '../domain/ip.js';
import { checkId, checkKind, checkPool, isId } from '../domain/names.js';
import {
  type Address,
  type AttachedInfo,
  type Contract,
  formatAddress,
  type WorkerInfo,
  type WorkerRecord,
  type WorkerState,
} from '../domain/worker.js';
import { checkEntries, checkInteger, checkText, entryField } from './checks.js';
import { type Worker as ProtoWorker, WorkerState as ProtoWorkerState } from './generated/muster/v1/admin.js';
import { type Held, Contract as ProtoContract } from './generated/muster/v1/common.js';
import type { WorkerInfo as ProtoWorkerInfo } from './generated/muster/v1/worker.js';
import type { WorkerInfo as LegacyWorkerInfo } from './generated/worker/worker.js';
import { toDate } from './time.js';

const MAX_PORT = 65_535;
const MAX_REGION_BYTES = 63;
const MAX_VERSION_BYTES = 63;
const MAX_LABELS = 32;
const MAX_LABEL_KEY_BYTES = 63;
const MAX_LABEL_BYTES = 256;
const MAX_KINDS = 64;
const NO_BYTES = Buffer.alloc(0);
const MAX_HELD = 4096;
const MAX_PROGRESS_BYTES = 4096;
/** What an id may hold, and brackets: an IPv6 address is a boot too. */
const BOOT = /^[A-Za-z0-9[][A-Za-z0-9[\]._:-]{0,62}$/;

type DialedContract = WorkerInfo['contract'];

export interface WorkerLimits {
  maxSlots: number;
  /** Where LEGACY workers go that name no pool. */
  legacyPool: string;
}

/**
 * What a worker said of itself at Register, checked and with its defaults filled in. `peerIp` is where the call came
 * from. Throws `invalid` with the field at fault, FAILED_PRECONDITION for an ATTACHED worker.
 */
export function toWorkerInfo(info: ProtoWorkerInfo, limits: WorkerLimits, peerIp: string): WorkerInfo {
  const contract = toDialedContract(info.contract);
  const legacy = contract === 'LEGACY';
  const address = toAddress(info.ip, info.port, peerIp);
  return {
    pool: legacy && info.pool === '' ? limits.legacyPool : checkPool(info.pool, 'pool'),
    id: checkId(info.id, 'id'),
    address,
    contract,
    region: checkText(info.region, 'region', MAX_REGION_BYTES),
    slots: legacy ? 1 : checkInteger(info.slots, 'slots', 0, limits.maxSlots) || 1,
    labels: toLabels(info.labels),
    kinds: legacy ? [] : toKinds(info.kinds),
    version: checkText(info.version, 'version', MAX_VERSION_BYTES),
    ...toBoot(info.boot, address),
  };
}

/** What an attaching worker said of itself; its boot is its own, always. Throws `invalid` with the field at fault, below `hello.worker`. */
export function toAttachedInfo(info: ProtoWorkerInfo | undefined, limits: WorkerLimits): AttachedInfo {
  if (info === undefined) throw invalid('hello.worker', 'must be set');
  if (info.boot === '') throw invalid('hello.worker.boot', 'must be set, and new in every life of the process');
  return {
    pool: checkPool(info.pool, 'hello.worker.pool'),
    id: checkId(info.id, 'hello.worker.id'),
    region: checkText(info.region, 'hello.worker.region', MAX_REGION_BYTES),
    slots: checkInteger(info.slots, 'hello.worker.slots', 0, limits.maxSlots) || 1,
    labels: toLabels(info.labels),
    kinds: toKinds(info.kinds),
    version: checkText(info.version, 'hello.worker.version', MAX_VERSION_BYTES),
    boot: checkBoot(info.boot, 'hello.worker.boot'),
  };
}

/** The same for a worker of the first contract, which says four things only. Its boot is its address. */
export function legacyWorkerInfo(info: LegacyWorkerInfo, legacyPool: string, peerIp = ''): WorkerInfo {
  const address = toAddress(info.ip, info.port, peerIp);
  return {
    pool: legacyPool,
    id: checkId(info.id, 'id'),
    address,
    contract: 'LEGACY',
    region: checkText(info.region, 'region', MAX_REGION_BYTES),
    slots: 1,
    labels: {},
    kinds: [],
    version: '',
    ...toBoot('', address),
  };
}

function toAddress(ip: string, port: number, peerIp: string): Address {
  const said = ip === '' ? peerIp : ip;
  if (said === '') throw invalid('ip', 'must be set: where this call came from is not known');
  // An address is a key of the registry, and each has one owner: in any other spelling it would be another key.
  const canonical = canonicalIp(said);
  if (canonical === undefined) throw invalid('ip', 'must be an IP address as a literal, without a zone; names are not resolved');
  return { ip: canonical, port: checkInteger(port, 'port', 1, MAX_PORT) };
}

function toBoot(boot: string, address: Address): Pick<WorkerInfo, 'boot' | 'bootDerived'> {
  if (boot === '') return { boot: formatAddress(address), bootDerived: true };
  return { boot: checkBoot(boot, 'boot'), bootDerived: false };
}

function checkBoot(boot: string, field: string): string {
  if (!BOOT.test(boot))
    throw invalid(field, 'a boot is 1 to 63 of letters, digits, ".", "_", ":", "-", "[" and "]", beginning with a letter, digit or "["');
  return boot;
}

/**
 * Leases that a worker names as held. A worker names them again and again: progress above 4 KiB, and a lease of a name that no job can have, are left out, so
 * that the rest keeps its leases. Throws `invalid` for more than 4,096.
 */
export function checkHeld(held: Held[], field: string): Held[] {
  if (held.length > MAX_HELD) throw invalid(field, `must be at most ${MAX_HELD}`);
  return held.filter(({ jobId }) => isId(jobId)).map((each) => (each.progress.length <= MAX_PROGRESS_BYTES ? each : { ...each, progress: NO_BYTES }));
}

function toLabels(labels: Record<string, string>): Record<string, string> {
  for (const [key, value] of checkEntries(labels, 'labels', MAX_LABELS)) {
    const field = entryField('labels', key);
    if (key === '') throw invalid(field, 'a key must not be empty');
    checkText(key, field, MAX_LABEL_KEY_BYTES);
    checkText(value, field, MAX_LABEL_BYTES);
  }
  return labels;
}

function toKinds(kinds: string[]): string[] {
  if (kinds.length > MAX_KINDS) throw invalid('kinds', `must have at most ${MAX_KINDS} entries`);
  return kinds.map((kind, i) => checkKind(kind, `kinds[${i}]`));
}

function toDialedContract(contract: ProtoContract): DialedContract {
  switch (contract) {
    case ProtoContract.CONTRACT_UNSPECIFIED:
    case ProtoContract.CONTRACT_RUNNER:
      return 'RUNNER';
    case ProtoContract.CONTRACT_LEGACY:
      return 'LEGACY';
    case ProtoContract.CONTRACT_METHOD:
      return 'METHOD';
    case ProtoContract.CONTRACT_ATTACHED:
      throw new MusterError('failed_precondition', 'NOT_DIALED', 'contract: open WorkerService.Attach; Register is for dialed workers', {
        field: 'contract',
      });
    default:
      throw invalid('contract', `${contract} is no Contract known here`);
  }
}

const CONTRACTS: Record<Contract, ProtoContract> = {
  LEGACY: ProtoContract.CONTRACT_LEGACY,
  RUNNER: ProtoContract.CONTRACT_RUNNER,
  METHOD: ProtoContract.CONTRACT_METHOD,
  ATTACHED: ProtoContract.CONTRACT_ATTACHED,
};

export function toProtoContract(contract: Contract): ProtoContract {
  return CONTRACTS[contract];
}

/** A worker as operators see it. */
export function fromWorkerRecord(record: WorkerRecord): ProtoWorker {
  return {
    pool: record.pool,
    id: record.id,
    address: record.address,
    contract: toProtoContract(record.contract),
    region: record.region,
    slots: record.slots,
    state: toProtoWorkerState(record.state),
    boot: record.boot,
    home: record.home,
    linkEpoch: record.link,
    lastSeenTime: toDate(record.seenAt),
    registerTime: toDate(record.registeredAt),
    misses: record.misses,
    blocked: record.blocked,
    labels: record.labels,
    kinds: record.kinds,
    version: record.version,
    held: record.held,
    reason: record.reason,
  };
}

const STATES: Record<WorkerState, ProtoWorkerState> = {
  free: ProtoWorkerState.WORKER_STATE_FREE,
  busy: ProtoWorkerState.WORKER_STATE_BUSY,
  draining: ProtoWorkerState.WORKER_STATE_DRAINING,
  suspect: ProtoWorkerState.WORKER_STATE_SUSPECT,
  dead: ProtoWorkerState.WORKER_STATE_DEAD,
};
const STATE_NAMES = new Map(Object.entries(STATES).map(([name, number]) => [number, name as WorkerState]));

export function toProtoWorkerState(state: WorkerState): ProtoWorkerState {
  return STATES[state];
}

/** undefined for UNSPECIFIED. Throws `invalid` for a number that this version does not know. */
export function toWorkerState(state: ProtoWorkerState, field = 'state'): WorkerState | undefined {
  if (state === ProtoWorkerState.WORKER_STATE_UNSPECIFIED) return undefined;
  const name = STATE_NAMES.get(state);
  if (name === undefined) throw invalid(field, `${state} is no WorkerState known here`);
  return name;
}
