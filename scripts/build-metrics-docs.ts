/**
 * Builds docs/metrics.md from the registry that a replica serves.
 *
 * `npx tsx scripts/build-metrics-docs.ts` writes; with `--check` it exits 1 when the committed page is not current.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { systemClock } from '../src/domain/clock.js';
import { Metrics } from '../src/http/metrics/metrics.js';

const OUT = new URL('../docs/metrics.md', import.meta.url);
/** What the library adds by itself differs between platforms, and is described by it. */
const OURS = /^(muster|grpc_server)_/;

const HEAD = `# Metrics

Built from the registry by \`npx tsx scripts/build-metrics-docs.ts\`. Not written by hand.

Every replica serves them at \`/metrics\` of \`MUSTER_HTTP_ADDR\`, without credentials: they hold names of pools, and never ids, payloads or results.
Where \`HTTP_ADDR\` is empty nothing is counted. \`deploy/monitoring/\` has a scrape configuration, alerts and a dashboard;
[operations.md](operations.md) says what to do when one fires.

- Metrics with the label \`pool\` that say "of the whole fleet" are Redis' own counts, read at a scrape, at most every \`MUSTER_METRICS_CACHE_MS\`, and the same
  at every replica: \`max by (pool) (…)\`. When Redis does not answer they are left out, and \`muster_redis_up\` is 0.
- Only the first \`MUSTER_METRICS_POOLS\` pools by name are shown; \`muster_pools\` says how many there are.
- All other metrics are the replica's own: \`sum\` over the replicas.
- \`process_…\` and \`nodejs_…\` are the defaults of prom-client.

| metric | type | labels | meaning |
| --- | --- | --- | --- |
`;

interface Described {
  name: string;
  type: string;
  help: string;
  labels: string[];
}

/** What a registry's metric knows of itself beyond its declared type. */
function describe(metric: object): Pick<Described, 'labels'> {
  const { labelNames } = metric as { labelNames?: string[] };
  return { labels: labelNames ?? [] };
}

async function described(): Promise<Described[]> {
  const metrics = new Metrics({
    ...{ version: '', clock: systemClock, cacheMs: 1, maxPools: 1 },
    readPools: () => Promise.resolve({ total: 0, pools: [] }),
    fleet: () => ({ links: 0, slots: new Map(), oldestSignMs: 0 }),
  });
  const all = await metrics.registry.getMetricsAsJSON();
  return all.map(({ name, help, type }) => ({ name, help, type: String(type), ...describe(metrics.registry.getSingleMetric(name) ?? {}) }));
}

const rows = (await described())
  .filter(({ name }) => OURS.test(name))
  .toSorted((a, b) => (a.name < b.name ? -1 : 1))
  .map(({ name, type, labels, help }) => `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(', ') || '–'} | ${help} |`);
const built = `${HEAD}${rows.join('\n')}\n`;

if (process.argv.includes('--check')) {
  if (readFileSync(OUT, 'utf8') !== built) {
    process.stderr.write('docs/metrics.md is not current: run `npx tsx scripts/build-metrics-docs.ts` and commit it.\n');
    process.exitCode = 1;
  }
} else {
  writeFileSync(OUT, built);
}
