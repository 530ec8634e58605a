import { items, number, text } from '../parse.js';
import type { Reply, ScriptRunner } from '../runner.js';

/** The promises of docs/architecture.md. */
export type Invariant = 'I1' | 'I2' | 'I3' | 'I5' | 'I6' | 'I7' | 'I8' | 'I9' | 'L1';

export interface Broken {
  invariant: Invariant;
  /** `job <id>`, `worker <id>` or `pool`. */
  subject: string;
  what: string;
}

/** What the script is asked about: `held` is the lease that worker `id` has of job `other`; `live`: all that is under way, if no more than `id`. */
export interface Subject {
  what: 'worker' | 'job' | 'held' | 'pool' | 'live';
  id: string;
  other?: string;
}

/** Stands in a list that is too long to be searched for each: is there an entry, as `listed` says? `live`: it was too much for one call. */
export interface Unsure {
  what: 'worker' | 'job' | 'live';
  id: string;
  listed: boolean;
}

/** Broken when a later look finds it with the same mark, and with a greater `since`. */
export interface Doubt extends Broken {
  mark: string;
  since: number;
}

export interface Looked {
  findings: Broken[];
  unsure: Unsure[];
  doubts: Doubt[];
}

/** The one script that only looks (`lua/audit.lua` is its contract). */
export class AuditScript {
  readonly #run: ScriptRunner;

  constructor(runner: ScriptRunner) {
    this.#run = runner;
  }

  /** `deep`: long lists are searched too, at the cost of their length for each subject. */
  async look(pool: string, subjects: readonly Subject[], deep: boolean): Promise<Looked> {
    const each = subjects.map(({ what, id, other = '' }) => ({ what, id, other, deep: deep ? 1 : 0 }));
    const [findings, unsure, doubts] = items(await this.#run.run('audit', pool, {}, each));
    return { findings: items(findings).map(toBroken), unsure: items(unsure).map(toUnsure), doubts: items(doubts).map(toDoubt) };
  }
}

function toBroken(reply: Reply): Broken {
  const [invariant, subject, what] = items(reply);
  return { invariant: text(invariant) as Invariant, subject: text(subject), what: text(what) };
}

function toUnsure(reply: Reply): Unsure {
  const [what, id, listed] = items(reply);
  return { what: text(what) as Unsure['what'], id: text(id), listed: number(listed) === 1 };
}

function toDoubt(reply: Reply): Doubt {
  const [invariant, subject, mark, since, what] = items(reply);
  return { invariant: text(invariant) as Invariant, subject: text(subject), mark: text(mark), since: number(since), what: text(what) };
}
