import type { Config } from '../config.js';
import type { ScriptLimits } from '../store/runner.js';

/** Pairs and discarded entries that one script call handles. */
const MATCH_BOUND = 64;
/** The reply of a script is full with so many bytes of jobs, and one job more: a link of 64 Mbit/s carries 512 KiB in 64 ms. */
const REPLY_BYTES = 262_144;
/** Up to that length taking an entry out of a list is cheaper than remembering that it is dead. */
const EXACT_LIST = 4096;

/** A worker of which nothing was heard for so many intervals is asked by nobody: its home asks after two. */
const SILENT_INTERVALS = 6;
/** So many dead workers a pool are kept until FORGET_MS: one that gives itself a new ID in each life must not fill Redis. */
const DEAD_KEPT = 1_000;

/** The configuration's part in the scripts. */
export function scriptLimits(config: Config): ScriptLimits {
  const { DELIVERY_MS, LEASE_MS, HOME_TTL_MS, TICK_STALE_MS, OUTAGE_GRACE_MS, REATTACH_GRACE_MS, QUARANTINE_MAX_MS, HANDOVER_BACKOFF_MS } = config;
  const { BURIED_RETENTION_MS, FORGET_MS, POOL_IDLE_MS, MAX_HANDOVERS, EVENTS_KEPT } = config;
  return {
    SILENT_MS: SILENT_INTERVALS * config.HEALTH_INTERVAL_MS,
    DELIVERY_MS,
    LEASE_MS,
    HOME_TTL_MS,
    TICK_STALE_MS,
    OUTAGE_GRACE_MS,
    REATTACH_GRACE_MS,
    QUARANTINE_MAX_MS,
    HANDOVER_BACKOFF_MS,
    BURIED_RETENTION_MS,
    FORGET_MS,
    DEAD_KEPT,
    POOL_IDLE_MS,
    MAX_HANDOVERS,
    EVENTS_KEPT,
    MATCH_BOUND,
    REPLY_BYTES,
    EXACT_LIST,
  };
}
