import { afterAll } from 'vitest';
import { systemClock, systemRandom } from '../../src/domain/clock.js';
import type { InboxEvents } from '../../src/store/inbox.js';
import type { ScriptLimits } from '../../src/store/runner.js';
import { Store } from '../../src/store/store.js';

/** The defaults of the configuration, as the scripts get them. Times in ms. */
export const scriptLimits: ScriptLimits = {
  DELIVERY_MS: 5_000,
  LEASE_MS: 30_000,
  HOME_TTL_MS: 6_000,
  TICK_STALE_MS: 5_000,
  OUTAGE_GRACE_MS: 15_000,
  REATTACH_GRACE_MS: 15_000,
  QUARANTINE_MAX_MS: 60_000,
  HANDOVER_BACKOFF_MS: 100,
  BURIED_RETENTION_MS: 604_800_000,
  FORGET_MS: 3_600_000,
  SILENT_MS: 60_000,
  DEAD_KEPT: 1_000,
  // The model keeps its pools.
  POOL_IDLE_MS: 1_000_000_000_000,
  MAX_HANDOVERS: 5,
  EVENTS_KEPT: 1_000,
  MATCH_BOUND: 64,
  REPLY_BYTES: 262_144,
  EXACT_LIST: 4_096,
};

export interface OpenStore {
  url: string;
  home: string;
  limits?: Partial<ScriptLimits>;
  /** The scripts' time is the number of µs under `muster:test:clock` of that Redis: set it before the first call. */
  testClock?: boolean;
  mutate?: (source: string) => string;
  events?: Partial<InboxEvents>;
}

const opened: Store[] = [];

/** One replica's store, connected; stopped with the file. */
export async function openStore({ url, home, limits, testClock, mutate, events }: OpenStore): Promise<Store> {
  const store = new Store({
    url,
    home,
    timeoutMs: 5_000,
    limits: { ...scriptLimits, ...limits },
    maxPools: 100_000,
    clock: systemClock,
    random: systemRandom,
    onError: () => undefined,
    ...(testClock === undefined ? {} : { testClock }),
    ...(mutate === undefined ? {} : { mutate }),
  });
  await store.start({ hint: () => undefined, resubscribed: () => undefined, error: () => undefined, ...events }, AbortSignal.timeout(10_000));
  opened.push(store);
  return store;
}

afterAll(async () => {
  await Promise.all(opened.splice(0).map((store) => store.stop()));
});
