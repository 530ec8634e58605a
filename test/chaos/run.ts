import type { Fault } from './arena.js';
import { Fleet } from './fleet.js';
import { PLANS } from './kinds.js';
import { plan } from './schedule.js';
import { runTrial, type Trial } from './trial.js';

/** The last line of a run. */
export interface Summary {
  trials: number;
  faultsFired: number;
  violations: number;
  lost: number;
  /** One job, accepted more than once. Executions beyond the first are `reruns`, and no violation. */
  duplicated: number;
  limbo: number;
  worstHealMs: number;
  reruns: number;
  seed: number;
}

export interface RunOptions {
  faults: readonly Fault[];
  /** A group. */
  trials: number;
  seed: number;
  /** See Fleet.start. */
  beside?: string | undefined;
  /** No trial is begun after so long; default: all are. */
  beginWithinMs?: number;
  tell: (line: string) => void;
}

/** The trials of that plan, one after another, each on a fleet of its kind; one that a trial has broken, or used up, is replaced. */
export async function runTrials({ faults, trials, seed, beside, beginWithinMs = Number.POSITIVE_INFINITY, tell }: RunOptions): Promise<Trial[]> {
  const done: Trial[] = [];
  const planned = plan(faults, trials, seed);
  const start = performance.now();
  let fleet: Fleet | undefined;
  try {
    for (const [n, { fault, seed: own }] of planned.entries()) {
      if (performance.now() - start > beginWithinMs) break;
      const { fleet: kind = 'usual' } = fault;
      if (fleet?.kind !== kind) {
        await fleet?.dispose();
        fleet = undefined;
        fleet = await Fleet.start(kind, beside);
      }
      const began = performance.now();
      const trial = await runTrial(fleet, fault, own, `t${n}`);
      done.push(trial);
      const { jobs, reruns, healMs, figures, violations } = trial;
      const verdict = violations.length === 0 ? 'well' : `${violations.length} VIOLATIONS`;
      const tookS = Math.round((performance.now() - began) / 1000);
      tell(
        `${n + 1}/${planned.length} ${fault.group}/${fault.name}: ${verdict}, ${jobs} jobs, ${reruns.spent}+${reruns.handedOver} re-runs, healed in ${healMs} ms, ${tookS} s`,
      );
      for (const [what, ms] of Object.entries(figures)) tell(`    ${what}: ${ms} ms`);
      for (const what of violations) tell(`    ${what}`);
      if (violations.length > 0 || PLANS[kind].sentinel || PLANS[kind].cluster) {
        await fleet.dispose();
        fleet = undefined;
      }
    }
  } finally {
    await fleet?.dispose();
  }
  return done;
}

export function summaryOf(trials: readonly Trial[], seed: number): Summary {
  const sum = (of: (trial: Trial) => number) => trials.reduce((total, trial) => total + of(trial), 0);
  return {
    trials: trials.length,
    faultsFired: sum(({ fired }) => Number(fired)),
    violations: sum(({ violations }) => Number(violations.length > 0)),
    lost: sum(({ lost }) => lost.length),
    duplicated: sum(({ duplicated }) => duplicated),
    limbo: sum(({ limbo }) => limbo.length),
    worstHealMs: Math.max(0, ...trials.map(({ healMs }) => healMs)),
    reruns: sum(({ reruns }) => reruns.spent + reruns.handedOver),
    seed,
  };
}
