import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MusterError } from '../../src/domain/errors.js';
import { keys } from '../../src/store/keys.js';
import { until } from '../helpers/until.js';
import { Broken, type Fault, NotFired } from './arena.js';
import { type Fleet, LEGACY_POOL, POOL } from './fleet.js';
import { Load } from './load.js';
import { isOver, lookAtJobs, openInspection } from './look.js';
import type { Loss } from './loss.js';
import { drawFrom } from './random.js';
import { judge, type Verdict } from './verdict.js';
import { Watcher } from './watcher.js';

export interface Trial extends Verdict {
  group: string;
  fault: string;
  seed: number;
  fired: boolean;
  /** From the end of the fault until every worker is fit, every replica ready and work goes on as before. */
  healMs: number;
  /** What the fault measured, ms by name. */
  figures: Record<string, number>;
  /** Each a breach of a promise, or of what the harness needs to say anything. */
  violations: string[];
}

const POOLS = [POOL, LEGACY_POOL];
const WARM = 60;
/** Work that must have gone on in the whole trial, and after the fault. */
const LEAST_JOBS = 150;
const AFTER = LEAST_JOBS - WARM;
const WARM_MS = 30_000;
/** In a trial, at a pool: a watcher that Redis hardly answers has seen nothing. */
const LEAST_LOOKS = 2;
/** Scaled: twice the longest that is stated, and what starting processes takes on a busy machine. */
const HEAL_MS = 30_000;
/** What has not ended so long after everything healed is lost. */
const LOST_MS = 20_000;

/** One fault under load, and what it did. Rejects only when the fleet is past use. */
export async function runTrial(fleet: Fleet, fault: Fault, seed: number, name: string): Promise<Trial> {
  const draw = drawFrom(seed);
  fleet.forgetNotes();
  const before = await counted(fleet);
  const links = await legacyLinks(fleet);
  const load = new Load({ clients: fleet.clients, name, draw });
  const inspection = await openInspection(fleet.backing.url ?? fleet.redis.url);
  const watchers = POOLS.map((pool) => {
    const ids = () => load.operations.flatMap((one) => (one.pool === pool ? one.id : []));
    return new Watcher({ redis: fleet.direct, inspection, pool, ids });
  });
  for (const watcher of watchers) watcher.start();
  load.start();
  const violations: string[] = [];
  let fired = false;
  let healMs = 0;
  let loss: Loss | undefined;
  const figures: Record<string, number> = {};
  const measured = (what: string, ms: number) => {
    figures[what] = Math.round(ms);
  };
  const declare = (declared: Loss) => {
    loss = declared;
    for (const watcher of watchers) watcher.forget();
  };
  try {
    await until(() => load.ended >= WARM, { timeoutMs: WARM_MS, what: 'the load to run' });
    await fault.run({ fleet, load, draw, declare, measured });
    fired = true;
  } catch (error) {
    fired = error instanceof Broken;
    violations.push(`${error instanceof NotFired ? 'not fired' : fired ? 'broken' : 'the trial broke'}: ${chain(error)}`);
  }
  try {
    const began = performance.now();
    await fleet.restore();
    const then = load.ended;
    await until(async () => (await fleet.revive()) && load.ended >= then + AFTER && (await fleet.healthy()), {
      timeoutMs: HEAL_MS,
      what: 'the fleet to heal',
    });
    healMs = Math.round(performance.now() - began);
  } catch (error) {
    violations.push(`L1 ${chain(error)}: ${await fleet.unfit().catch(chain)}`);
  }
  await load.stop(LOST_MS);
  await untold(fleet, load, loss);
  await Promise.all(watchers.map((watcher) => watcher.stop()));
  const found = await Promise.all(watchers.map(async (watcher, i) => [POOLS[i] ?? '', await lastLook(watcher)] as const));
  inspection.stop();
  const notes = fleet.notes();
  // Who keeps nothing counts from nothing.
  const since = (count: number) => (loss?.from === Number.NEGATIVE_INFINITY ? 0 : count);
  const verdict = judge({
    operations: load.operations,
    jobs: new Map(found),
    succeeded: (await counted(fleet)) - since(before),
    notes,
    relinked: (await legacyLinks(fleet)) - since(links),
    loss,
  });
  if (load.ended < LEAST_JOBS) violations.push(`only ${load.ended} jobs ended: too few to say anything`);
  for (const { broken, looks } of watchers) {
    violations.push(...broken);
    if (looks.audits < LEAST_LOOKS || looks.jobs < LEAST_LOOKS) violations.push(`nobody watched: ${JSON.stringify(looks)}`);
  }
  violations.push(...load.broken);
  for (const line of fleet.newFaults(fault.cutsOff ?? false)) violations.push(`a replica said: ${line}`);
  violations.push(...verdict.lost, ...verdict.limbo, ...verdict.broken);
  if (verdict.duplicated > 0) violations.push(`${verdict.duplicated} results were accepted beyond one a job`);
  const trial: Trial = { group: fault.group, fault: fault.name, seed, fired, healMs, figures, ...verdict, violations };
  if (violations.length > 0) keep(fleet, trial, { operations: load.operations, jobs: found.map(([pool, jobs]) => [pool, [...jobs]]), notes });
  fleet.forgetPast();
  return trial;
}

/**
 * Jobs whose client died, or gave up, are waited for in Redis; and after a loss all, for what was over, and is not since, is done again with
 * nobody waiting for it. What is not over then is the judge's.
 */
async function untold({ direct }: Fleet, load: Load, loss: Loss | undefined): Promise<void> {
  const left = load.operations.filter(({ end }) => end === undefined || loss !== undefined);
  const over = async () => {
    const looks = POOLS.map((pool) =>
      lookAtJobs(
        direct,
        pool,
        left.filter((one) => one.pool === pool).map(({ id }) => id),
      ),
    );
    return (await Promise.all(looks)).flat().every((job) => job === undefined || isOver(job));
  };
  await until(over, { timeoutMs: LOST_MS }).catch(() => {});
}

/** Redis may have been away a moment ago, and the inspection's connection to it still is. */
function lastLook(watcher: Watcher): ReturnType<Watcher['all']> {
  const whenAway = (error: unknown) => {
    if (error instanceof MusterError && error.code === 'unavailable') return undefined;
    throw error;
  };
  return until(() => watcher.all().catch(whenAway), { timeoutMs: LOST_MS, what: 'Redis to answer the last look' });
}

async function counted({ direct }: Fleet): Promise<number> {
  const counts = await Promise.all(POOLS.map((pool) => direct.hget(keys.meta(pool), 'succeeded')));
  return counts.reduce((sum, n) => sum + Number(n ?? 0), 0);
}

/** How many links the workers of the first contract have had, all told. */
async function legacyLinks({ direct, workers }: Fleet): Promise<number> {
  const legacy = workers.filter(({ contract }) => contract === 'legacy');
  const links = await Promise.all(legacy.map(({ pool, id }) => direct.hget(keys.worker(pool, id), 'link')));
  return links.reduce((sum, n) => sum + Number(n ?? 0), 0);
}

function chain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message}: ${chain(error.cause)}`;
}

function keep(fleet: Fleet, trial: Trial, history: object): void {
  const folder = mkdtempSync(join(tmpdir(), `muster-chaos-${trial.seed}-`));
  writeFileSync(join(folder, 'trial.json'), JSON.stringify(trial, undefined, 2));
  writeFileSync(join(folder, 'history.json'), JSON.stringify(history, undefined, 1));
  writeFileSync(join(folder, 'story.log'), fleet.story());
  trial.violations.push(`history and last words are in ${folder}`);
}
