/** What a worker speaks. LEGACY and METHOD and RUNNER are dialed; ATTACHED opened a stream itself. */
export type Contract = 'LEGACY' | 'RUNNER' | 'METHOD' | 'ATTACHED';
/** A pool holds one family of contracts: RUNNER and ATTACHED go together. */
export type Family = 'LEGACY' | 'METHOD' | 'RUNNER';

/**
 * `free ⇄ busy` follow from what the worker holds; `draining`: finishes what it holds; `suspect`: missed its checks or lost its home,
 * gets no jobs until reached again; `dead`: forgotten after FORGET_MS, or back by registering. The scripts are the table of transitions:
 *
 * | from \ to  | free/busy           | draining        | suspect         | dead                 |
 * | ---------- | ------------------- | --------------- | --------------- | -------------------- |
 * | (none)     | register            | register (kept drained) | –       | –                    |
 * | free/busy  | match, finish, …    | drain, deregister | suspect, match, orphans | bury, register (superseded) |
 * | draining   | undrain             | –               | suspect, orphans | bury, finish (leaving), tick |
 * | suspect    | beat, probed, adopt, register | the same, while drained | – | bury            |
 * | dead       | register            | register        | –               | –                    |
 */
export type WorkerState = 'free' | 'busy' | 'draining' | 'suspect' | 'dead';

export interface Address {
  ip: string;
  port: number;
}

export function formatAddress({ ip, port }: Address): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}

export function parseAddress(address: string): Address {
  const colon = address.lastIndexOf(':');
  return { ip: address.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(address.slice(colon + 1)) };
}

/** What a worker says of itself when it registers, checked and with its defaults filled in. */
export interface WorkerInfo {
  pool: string;
  id: string;
  address: Address;
  contract: Exclude<Contract, 'ATTACHED'>;
  region: string;
  slots: number;
  labels: Record<string, string>;
  kinds: string[];
  version: string;
  boot: string;
  /** The boot was made from the address, not given by the worker. */
  bootDerived: boolean;
}

/** What a worker says of itself when it attaches: as WorkerInfo, without an address. */
export type AttachedInfo = Omit<WorkerInfo, 'address' | 'contract' | 'bootDerived'>;

/** Which life of which worker over which link: what every judgement about a worker is compared against. */
export interface WorkerRef {
  pool: string;
  id: string;
  boot: string;
  /** The link epoch, decimal. */
  link: string;
}

/** One worker as it stands on the roll. Times in ms since 1970. */
export interface WorkerRecord extends WorkerRef {
  address: string;
  contract: Contract;
  region: string;
  slots: number;
  state: WorkerState;
  home: string;
  seenAt: number;
  registeredAt: number;
  misses: number;
  blocked: boolean;
  drained: boolean;
  version: string;
  reason: string;
  labels: Record<string, string>;
  kinds: string[];
  held: HeldLease[];
  /** The identity whose worker it is; '' when it is nobody's. */
  owner: string;
}

export interface HeldLease {
  jobId: string;
  /** Decimal; 16 digits and more. */
  fence: string;
  quarantined: boolean;
}
