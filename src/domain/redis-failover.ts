import type { HostPort } from './redis-url.js';

/** What one Sentinel says of the master. */
export interface SentinelAnswer {
  master: HostPort;
  /** Grows with each failover: of two answers the one with the higher epoch is the newer. */
  epoch: number;
  /** This Sentinel has chosen a replica and has not seen it promoted yet. What the old master acknowledges from now on may be lost. */
  promoting: boolean;
}

/** `keep`: there is not enough to change anything. */
export type MasterChoice = { kind: 'master'; master: HostPort; epoch: number } | { kind: 'promoting' } | { kind: 'keep' };

/**
 * Chooses the master from the answers of some of the Sentinels. The newest configuration counts, as it does among Sentinels, which tell
 * each other within two seconds. `seen`: the highest epoch that was acted on. An older one counts only if most of all
 * `known` Sentinels have it: a Sentinel that was cut off must not lead back to an old master.
 */
export function chooseMaster(answers: readonly SentinelAnswer[], seen: number, known: number): MasterChoice {
  const epoch = Math.max(...answers.map((answer) => answer.epoch));
  const newest = answers.filter((answer) => answer.epoch === epoch);
  const [first] = newest;
  if (!first || (epoch < seen && answers.length * 2 <= known)) return { kind: 'keep' };
  if (newest.some(({ promoting }) => promoting)) return { kind: 'promoting' };
  const votes = ({ host, port }: HostPort) => newest.filter(({ master }) => master.host === host && master.port === port).length;
  const { master } = newest.reduce((a, b) => (votes(b.master) > votes(a.master) ? b : a), first);
  return { kind: 'master', master, epoch };
}

/** What a server says of its place in replication (`INFO`). Offsets count bytes of writes. */
export interface ReplicationState {
  runId: string;
  replid: string;
  offset: number;
  /** The history that it followed before it was promoted, and where it left it. */
  formerReplid: string;
  formerOffset: number;
}

/** undefined: this server is no master, or does not say all of it. */
export function replicationState(info: ReadonlyMap<string, string>, runId: string): ReplicationState | undefined {
  if (info.get('role') !== 'master') return undefined;
  const [replid, offset] = [info.get('master_replid'), info.get('master_repl_offset')];
  if (replid === undefined || offset === undefined || runId === '') return undefined;
  return {
    ...{ runId, replid, offset: Number(offset) },
    formerReplid: info.get('master_replid2') ?? '',
    formerOffset: Number(info.get('second_repl_offset') ?? -1),
  };
}

/** Times in ms since 1970. What was acknowledged in between may be lost. `from` undefined: nobody knows since when. */
export interface LossWindow {
  from: number | undefined;
  to: number;
}

const KEPT = 60;

/** Remembers how far the master's writes were at which time, to say after a failover from when on the promoted replica lacks them. */
export class ReplicationHistory {
  #samples: { at: number; state: ReplicationState }[] = [];
  #heardAt = 0;

  /** `at`: when it was asked for: what was acknowledged before lies below the offset. */
  note(at: number, state: ReplicationState): void {
    if (this.#samples[0]?.state.replid !== state.replid) this.#samples = [];
    if (this.#samples.push({ at, state }) > KEPT) this.#samples.shift();
    this.#heardAt = at;
  }

  /** The connection ended: nothing was acknowledged by that server later. */
  ended(at: number): void {
    this.#heardAt = at;
  }

  /** What may be lost if this is the master now. undefined: it is the same server, or no replica of it. */
  lossOf(now: ReplicationState): LossWindow | undefined {
    const last = this.#samples.at(-1)?.state;
    if (!last || now.runId === last.runId || now.formerReplid !== last.replid) return undefined;
    const had = this.#samples.findLast(({ state }) => state.offset < now.formerOffset);
    return { from: had?.at, to: this.#heardAt };
  }
}
