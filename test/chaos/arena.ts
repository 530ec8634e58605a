import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { until } from '../helpers/until.js';
import type { Fleet } from './fleet.js';
import type { FleetKind } from './kinds.js';
import type { Load } from './load.js';
import type { Loss } from './loss.js';
import type { Draw } from './random.js';
import type { ReplicaSeat, WorkerSeat } from './seats.js';

export const GROUPS = ['failpoints', 'kills', 'links', 'redis', 'cluster', 'clocks', 'workers', 'hostile'] as const;
export type Group = (typeof GROUPS)[number];

/** Where a fault happens: a fleet at work. */
export interface Arena {
  fleet: Fleet;
  load: Load;
  draw: Draw;
  /** To be called while Redis is away, before what is left of it answers. */
  declare(loss: Loss): void;
  /** A figure of this trial, for the report. */
  measured(what: string, ms: number): void;
}

export interface Fault {
  group: Group;
  name: string;
  /** A replica stands still meanwhile, or does not reach Redis: it may lose its hold on a check, and may say so. */
  cutsOff?: boolean;
  /** Default: the usual. */
  fleet?: FleetKind;
  /** Too long to come by chance: only when it is named. */
  asked?: true;
  /** Why it cannot be done here; undefined: it can. */
  lacks?: () => string | undefined;
  /** Does it, and resolves when it is over and was seen to happen. Rejects with NotFired when it was not. */
  run(arena: Arena): Promise<void>;
}

/** The fault did not happen: the trial says nothing. */
export class NotFired extends Error {
  override readonly name = 'NotFired';
}

/** The fault happened, and a promise did not hold. */
export class Broken extends Error {
  override readonly name = 'Broken';
}

const FIRE_MS = 20_000;

/** Rejects with NotFired when the condition does not come. */
export async function fires(what: string, condition: () => boolean | Promise<boolean>, timeoutMs = FIRE_MS): Promise<void> {
  await until(condition, { timeoutMs }).catch((error: unknown) => {
    throw new NotFired(what, { cause: error });
  });
}

/** As long as a fault lasts. */
export const hold = (ms: number): Promise<void> => pause(ms);

/** Does the whole process stand still, as the kernel says? */
export function standsStill(pid: number): boolean {
  return /\) [Tt] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
}

/** Stopped as by SIGSTOP for so long, then continued. */
export async function freeze(seat: ReplicaSeat | WorkerSeat, ms: number): Promise<void> {
  const { child } = seat;
  child.signal('SIGSTOP');
  await fires(`${child.name} stands still`, () => standsStill(child.pid));
  await hold(ms);
  child.signal('SIGCONT');
}
