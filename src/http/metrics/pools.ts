import { Counter, Gauge, type Registry } from 'prom-client';
import type { Clock } from '../../domain/clock.js';
import type { PoolRecord } from '../../store/read-fleet.js';

/** What stands in Redis of the pools that are shown, and how many there are in all. */
export interface PoolsRead {
  total: number;
  pools: PoolRecord[];
}

export interface PoolMetricsOptions {
  registry: Registry;
  clock: Clock;
  /** How long a reading serves: scrapers more than one, and impatient ones, cost Redis no more. */
  cacheMs: number;
  read: () => Promise<PoolsRead>;
}

/** Each number of a pool, as it is read at a scrape. */
const GAUGES: { name: string; help: string; of: (pool: PoolRecord) => number }[] = [
  { name: 'muster_running', help: 'Jobs that workers hold, with slots in quarantine of METHOD workers', of: ({ running }) => running },
  { name: 'muster_waiting', help: 'Jobs that wait for a free worker', of: ({ waiting }) => waiting },
  { name: 'muster_scheduled', help: 'Jobs that wait for their time: a start not before, or the next attempt', of: ({ scheduled }) => scheduled },
  { name: 'muster_dead_letters', help: 'Dead letters kept', of: ({ buried }) => buried },
  { name: 'muster_pool_paused', help: '1 while the pool is paused: none of its jobs is given out', of: ({ paused }) => (paused ? 1 : 0) },
];

/** Free is who stands on the free list; whoever has no free slot, is draining or suspect, is `other`. */
const WORKERS: Record<string, (pool: PoolRecord) => number> = {
  free: ({ free }) => free,
  other: ({ workers, free }) => Math.max(0, workers - free),
  dead: ({ dead }) => dead,
};

const OUTCOMES: Record<string, (pool: PoolRecord) => number> = {
  succeeded: ({ succeededTotal }) => succeededTotal,
  failed: ({ failedTotal }) => failedTotal,
  cancelled: ({ cancelledTotal }) => cancelledTotal,
  expired: ({ expiredTotal }) => expiredTotal,
};

const SAME = 'Of the whole fleet, out of Redis: the same at every replica, so take max by (pool), not sum';

/** The metrics of pools. They are Redis' own counts, the lengths of lists and sets: nothing is scanned for them. */
export function poolMetrics(options: PoolMetricsOptions): void {
  const { registry } = options;
  const reading = cached(options);
  const registers = [registry];
  const pools = async () => (await reading())?.pools ?? [];
  for (const { name, help, of } of GAUGES) {
    new Gauge({
      ...{ name, help: `${help}. ${SAME}`, labelNames: ['pool'], registers },
      async collect() {
        const all = await pools();
        this.reset();
        for (const pool of all) this.set({ pool: pool.name }, of(pool));
      },
    });
  }
  new Gauge({
    name: 'muster_workers',
    help: `Workers on the roll: free, other (no free slot, draining or suspect) and dead (not forgotten yet). ${SAME}`,
    labelNames: ['pool', 'state'],
    registers,
    async collect() {
      const all = await pools();
      this.reset();
      for (const pool of all) for (const [state, of] of Object.entries(WORKERS)) this.set({ pool: pool.name, state }, of(pool));
    },
  });
  counter(registry, 'muster_jobs_total', `Jobs that have ended. ${SAME}`, 'outcome', OUTCOMES, pools);
  counter(registry, 'muster_jobs_submitted_total', `Jobs that were taken. ${SAME}`, undefined, { '': (pool) => pool.submittedTotal }, pools);
  counter(
    registry,
    'muster_attempts_failed_total',
    `Failed attempts after which the job was tried again. ${SAME}`,
    undefined,
    { '': (pool) => pool.retriedTotal },
    pools,
  );
  new Gauge({
    name: 'muster_pools',
    help: 'Pools there are; METRICS_POOLS of them, the first by name, have metrics of their own',
    registers,
    async collect() {
      const total = (await reading())?.total;
      if (total !== undefined) this.set(total);
    },
  });
  new Gauge({
    name: 'muster_redis_up',
    help: '1 when Redis answered the last reading for the metrics of pools; 0: they are left out',
    registers,
    async collect() {
      this.set((await reading()) === undefined ? 0 : 1);
    },
  });
}

function counter(
  registry: Registry,
  name: string,
  help: string,
  label: string | undefined,
  values: Record<string, (pool: PoolRecord) => number>,
  pools: () => Promise<PoolRecord[]>,
): void {
  new Counter<string>({
    ...{ name, help, labelNames: label === undefined ? ['pool'] : ['pool', label], registers: [registry] },
    async collect() {
      const all = await pools();
      this.reset();
      for (const pool of all)
        for (const [value, of] of Object.entries(values)) this.inc({ pool: pool.name, ...(label === undefined ? {} : { [label]: value }) }, of(pool));
    },
  });
}

/** One reading at a time, and none sooner than `cacheMs` after the last. undefined: Redis did not answer it. */
function cached({ clock, cacheMs, read }: PoolMetricsOptions): () => Promise<PoolsRead | undefined> {
  let at = Number.NEGATIVE_INFINITY;
  let last: Promise<PoolsRead | undefined> | undefined;
  return () => {
    if (last === undefined || clock.monotonic() - at >= cacheMs) {
      at = clock.monotonic();
      last = read().catch(() => undefined);
    }
    return last;
  };
}
