import { hostname } from 'node:os';
import { type Clock, type Ids, type Random, systemIds, systemRandom } from '../domain/clock.js';
import { checkId, checkPool } from '../domain/names.js';
import { Access, type Where } from './access.js';
import { sdkClock } from './clock.js';

export interface WorkerOptions extends Where {
  /** Default `default`. */
  pool?: string;
  /** Unique in its pool. Default: the host's name and a random part. */
  id?: string;
  /** How many jobs at once, 0 to 4096. Default 1. */
  slots?: number;
  labels?: Record<string, string>;
  region?: string;
  /** The worker's own version, for people to see. */
  version?: string;
  /** After a refusal that someone has to act on, in ms; twice that after the next ones. Default 10 s. */
  slowRetryMs?: number;
  clock?: Clock;
  random?: Random;
  ids?: Ids;
}

/** Checked, with the defaults filled in. */
export interface WorkerSettings {
  access: Access;
  pool: string;
  id: string;
  slots: number;
  labels: Record<string, string>;
  region: string;
  version: string;
  slowRetryMs: number;
  clock: Clock;
  random: Random;
  ids: Ids;
}

export const SLOTS_MAX = 4_096;

/** Throws TypeError, or MusterError that names the field. */
export function workerSettings(options: WorkerOptions): WorkerSettings {
  const { pool = '', slots = 1, ids = systemIds, clock = sdkClock } = options;
  return {
    access: new Access(options, clock),
    pool: checkPool(pool, 'pool'),
    id: checkId(options.id ?? ids.replicaId(hostname()), 'id'),
    slots: checkSlots(slots),
    labels: options.labels ?? {},
    region: options.region ?? '',
    version: options.version ?? '',
    slowRetryMs: options.slowRetryMs ?? 10_000,
    clock,
    random: options.random ?? systemRandom,
    ids,
  };
}

export function checkSlots(slots: number): number {
  if (!Number.isInteger(slots) || slots < 0 || slots > SLOTS_MAX) throw new TypeError(`slots: ${slots} is no whole number from 0 to ${SLOTS_MAX}`);
  return slots;
}
