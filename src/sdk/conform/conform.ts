import { type Clock, type Ids, systemIds } from '../../domain/clock.js';
import { toError } from '../../domain/errors.js';
import { sdkClock } from '../clock.js';
import { AttachedSubject } from './attached.js';
import { Bench, type Check, Violation } from './bench.js';
import * as every from './checks.js';
import { attachedBasic, attachedFull } from './checks-attached.js';
import { dialedBasic, dialedFull } from './checks-dialed.js';
import { DialedSubject } from './dialed.js';
import { Host } from './host.js';
import { type CheckReport, type ConformReport, type Level, type Subject, Unreachable } from './types.js';

export { type CheckReport, type ConformReport, type Level, Unreachable } from './types.js';

export interface ConformOptions {
  /** Where the worker is (`ip:port`, dialed), or where to wait for one that registers or attaches (`host:port`). Exactly one. */
  address?: string;
  listen?: string;
  level?: Level;
  /** The kind that the worker serves for the test. Default `muster.conform`. */
  kind?: string;
  /** Of a worker at `address`; one that comes says it itself. Default 1. */
  slots?: number;
  /** How long the worker may take to be there. Default 30 s. */
  timeoutMs?: number;
  /** How long jobs last during which something else is tried. Default 1 s. */
  holdMs?: number;
  /** By then a worker has answered what needs no work. Default 5 s. */
  patienceMs?: number;
  /** Gets the worker to stop in an orderly way; the last check. May only ask a person to. */
  stop: () => void | Promise<void>;
  /** By then it was stopped. Default: patienceMs. */
  stopWithinMs?: number;
  /** By then a worker has ended that was stopped and holds nothing any more. Default 15 s. */
  endingMs?: number;
  /** Told where it listens. */
  onListening?: (port: number) => void;
  onCheck?: (report: CheckReport) => void;
  /** Names of checks to run; the others are left out. Default: all. */
  only?: readonly string[];
  clock?: Clock;
  ids?: Ids;
}

const KIND = 'muster.conform';
const TIMEOUT_MS = 30_000;
const HOLD_MS = 1_000;
const PATIENCE_MS = 5_000;
/** A worker that cannot reach whom it would say goodbye to tries for a while. */
const ENDING_MS = 15_000;

/** Tests one worker against the contract. Rejects with Unreachable when there is none, TypeError for options that do not fit. */
export async function conform(options: ConformOptions): Promise<ConformReport> {
  const { address, listen } = options;
  if ((address === undefined) === (listen === undefined)) throw new TypeError('name the address of the worker, or where to listen for it');
  const { clock = sdkClock, patienceMs = PATIENCE_MS, timeoutMs = TIMEOUT_MS, slots = 1, holdMs = HOLD_MS } = options;
  if (address !== undefined) {
    const subject = new DialedSubject({ address, slots, clock, patienceMs });
    return examine(subject, options).finally(() => subject.close());
  }
  const host = new Host({ clock, patienceMs, listen: listen ?? '', beatMs: holdMs, leaseMs: 10 * holdMs });
  try {
    const port = await host.start();
    options.onListening?.(port);
    const over = new AbortController();
    const subject = await Promise.race([host.arrival(), clock.sleep(timeoutMs, over.signal).then(() => undefined)]);
    over.abort();
    if (subject === undefined) throw new Unreachable(`no worker came within ${timeoutMs} ms`);
    return await examine(subject, options).finally(() => subject.close());
  } finally {
    host.close();
  }
}

/** The checks for that worker, in their order; drain is the last, because nothing is left to test after it. */
export function checksFor(subject: Subject, level: Level): Check[] {
  const { kind, failures, truth, drain, abort, stale, supersede, unknown, timeout } = every;
  const [own, ownFull] = ownChecks(subject);
  const all = [kind, failures, ...own, truth, ...(level === 'full' ? [abort, unknown, timeout, stale, supersede, ...ownFull] : []), drain];
  return all.filter(({ applies }) => applies?.(subject) ?? true);
}

/** Bound to the subject, so that the list needs to know no more than what all have in common. */
function ownChecks(subject: Subject): [Check[], Check[]] {
  const bind = <S extends Subject>(checks: Check<S>[], own: S): Check[] =>
    checks.map((check) => ({ ...check, run: (bench) => check.run(bench, own) }));
  if (subject instanceof AttachedSubject) return [bind(attachedBasic, subject), bind(attachedFull, subject)];
  if (subject instanceof DialedSubject) return [bind(dialedBasic, subject), bind(dialedFull, subject)];
  return [[], []];
}

async function examine(subject: Subject, options: ConformOptions): Promise<ConformReport> {
  const {
    clock = sdkClock,
    ids = systemIds,
    level = 'basic',
    kind = KIND,
    holdMs = HOLD_MS,
    patienceMs = PATIENCE_MS,
    only,
    stop,
    endingMs = ENDING_MS,
  } = options;
  const { stopWithinMs = patienceMs } = options;
  const bench = new Bench({ subject, kind, clock, ids, holdMs, patienceMs, stop, stopWithinMs, endingMs });
  const worker = await reach(bench, subject, options);
  const reports: CheckReport[] = [];
  for (const check of checksFor(subject, level)) {
    if (only !== undefined && !only.includes(check.name)) continue;
    // Without the kind there is nothing to go by.
    const useless = reports.some(({ name, outcome }) => name === every.kind.name && outcome === 'failed');
    const report = useless ? skipped(check) : await runCheck(check, bench, subject);
    reports.push(report);
    options.onCheck?.(report);
  }
  return { contract: subject.contract, worker, level, passed: reports.every(({ outcome }) => outcome === 'passed'), checks: reports };
}

/** The worker's id, or its silence as Unreachable. */
async function reach(bench: Bench, subject: Subject, { timeoutMs = TIMEOUT_MS, address }: ConformOptions): Promise<string> {
  let last = '';
  const sight = await bench.until(
    () =>
      subject.look().catch((error: unknown) => {
        last = toError(error).message;
        return undefined;
      }),
    timeoutMs,
  );
  if (sight === undefined) throw new Unreachable(`${address ?? 'the worker'} does not answer a probe: ${last}`);
  return sight.workerId;
}

async function runCheck(check: Check, bench: Bench, subject: Subject): Promise<CheckReport> {
  const { name, level, remedy } = check;
  const started = bench.now();
  const took = () => Math.round(bench.now() - started);
  try {
    await check.run(bench, subject);
    return { name, level, outcome: 'passed', found: '', remedy: '', ms: took() };
  } catch (error) {
    const { message } = toError(error);
    return { name, level, outcome: 'failed', found: error instanceof Violation ? message : `the check broke off: ${message}`, remedy, ms: took() };
  } finally {
    await bench.settle();
  }
}

function skipped({ name, level }: Check): CheckReport {
  return { name, level, outcome: 'skipped', found: 'not tested', remedy: `it needs "${every.kind.name}" first`, ms: 0 };
}
