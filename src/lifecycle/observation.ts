import type { Config } from '../config.js';
import type { Clock } from '../domain/clock.js';
import { type Observer, observers } from '../domain/observer.js';
import type { FleetLinks } from '../fleet/links.js';
import { type FleetNow, Metrics } from '../http/metrics/metrics.js';
import type { Store } from '../store/store.js';
import { journal } from './journal.js';
import type { Logger } from './log.js';
import { tracing } from './tracing.js';

export interface ObservationOptions {
  config: Config;
  version: string;
  clock: Clock;
  log: Logger;
  /** Asked for at a scrape alone: they are made with the observer. */
  store: () => Store;
  links: () => FleetLinks;
}

/** Who looks at a replica: its log, its traces and, where HTTP is served, its metrics. */
export function observation(options: ObservationOptions): { observer: Observer; metrics: Metrics | undefined } {
  const { config, version, clock, log } = options;
  const looking = [journal(log, clock), tracing(version)];
  if (config.HTTP_ADDR === '') return { observer: observers(looking), metrics: undefined };
  const metrics = new Metrics({
    version,
    clock,
    cacheMs: config.METRICS_CACHE_MS,
    maxPools: config.METRICS_POOLS,
    readPools: async () => {
      const names = (await options.store().pools()).sort();
      return { total: names.length, pools: await options.store().readPools(names.slice(0, config.METRICS_POOLS)) };
    },
    fleet: () => fleetNow(options.links(), clock),
  });
  return { observer: observers([metrics, ...looking]), metrics };
}

function fleetNow(links: FleetLinks, clock: Clock): FleetNow {
  const now = clock.monotonic();
  let oldestSignMs = 0;
  for (const { heardAt } of links.all()) if (heardAt >= 0) oldestSignMs = Math.max(oldestSignMs, now - heardAt);
  return { links: links.size, slots: links.slots(), oldestSignMs };
}
