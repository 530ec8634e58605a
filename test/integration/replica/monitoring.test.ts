import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { Exposition } from '../../helpers/exposition.js';
import { FOLDER } from '../../helpers/programs.js';
import { findPromtool, promtool } from '../../helpers/promtool.js';
import { redisUrl, uniquePool } from '../../helpers/redis.js';
import { startReplica } from '../../helpers/replica.js';
import { ROOT } from '../../helpers/source.js';
import { newClient, startWorker } from '../sdk/support.js';

/** What is shipped for watching a fleet names only what a replica shows, and is what Prometheus takes. */
const read = (path: string) => readFileSync(new URL(path, ROOT), 'utf8');
const checker = findPromtool();
/** Its code when metrics can be read and it would have named one otherwise. */
const STYLE = 3;

interface Rule {
  alert: string;
  expr: string;
  annotations: { summary: string; runbook_url: string };
}
const alerts = (parse(read('deploy/monitoring/rules.yml')) as { groups: { rules: Rule[] }[] }).groups.flatMap(({ rules }) => rules);

interface Panel {
  title: string;
  type: string;
  targets?: { expr: string }[];
}
const dashboard = JSON.parse(read('deploy/monitoring/grafana/muster.json')) as {
  panels: Panel[];
  templating: { list: { query: string | { query: string } }[] };
};
const charts = dashboard.panels.filter(({ type }) => type !== 'row');
const variables = dashboard.templating.list.map(({ query }) => (typeof query === 'string' ? query : query.query));

let metrics: Exposition;
beforeAll(async () => {
  const replica = await startReplica(redisUrl, { HTTP_ADDR: '127.0.0.1:0' });
  const pool = uniquePool('0');
  await startWorker({ target: replica.target, pool }, (worker) => worker.handle('x', () => 1));
  await newClient({ target: replica.target }).run('x', 1, { pool });
  metrics = await Exposition.at(replica.httpPort);
});

/** Names of metrics in a PromQL expression; of a histogram's samples that of the histogram. */
function metricsIn(expression: string): string[] {
  const named = expression.match(/\b(?:muster|grpc_server|process|nodejs)_[a-z_]+/g) ?? [];
  return named.map((name) => (metrics.names.has(name) ? name : name.replace(/_(bucket|sum|count)$/, '')));
}

test.each(charts.map(({ title, targets = [] }) => [title, targets] as const))('the panel "%s" asks for metrics that a replica has', (_, targets) => {
  const asked = targets.flatMap(({ expr }) => metricsIn(expr));
  expect(asked.length).toBeGreaterThanOrEqual(targets.length);
  expect(asked.filter((name) => !metrics.names.has(name))).toEqual([]);
});

test("the dashboard's variables and the alerts do too; a name that is none is noticed", () => {
  const asked = [...variables, ...alerts.map(({ expr }) => expr)].flatMap(metricsIn);
  expect(asked.length).toBeGreaterThan(alerts.length);
  expect(asked.filter((name) => !metrics.names.has(name))).toEqual([]);
  expect(metricsIn('rate(muster_nonsense_bucket[5m])').filter((name) => !metrics.names.has(name))).toEqual(['muster_nonsense']);
});

test('every alert has a runbook that is there, and every runbook belongs to an alert', () => {
  const headings = [...read('docs/operations.md').matchAll(/^## (\w+)$/gm)].map((match) => match[1] ?? '');
  expect(alerts.map(({ alert }) => alert)).toEqual(headings);
  for (const { alert, annotations } of alerts) expect(annotations.runbook_url).toBe(`docs/operations.md#${alert.toLowerCase()}`);
});

test('docs/metrics.md is what the registry says', () => {
  execFileSync(process.execPath, ['--import', 'tsx', 'scripts/build-metrics-docs.ts', '--check'], { cwd: FOLDER, stdio: 'pipe' });
});

describe.skipIf(checker === undefined)(`promtool${checker === undefined ? ' is not here and cannot be had' : ''}`, () => {
  const command = checker ?? '';
  const cwd = `${FOLDER}/deploy/monitoring`;

  test('finds nothing wrong with what a replica shows', () => {
    // It would have named some of prom-client's own otherwise, and says so; of ours it has nothing to say.
    const said = promtool(command, ['check', 'metrics'], { input: metrics.text, tastes: STYLE });
    expect(said.split('\n').filter((line) => line !== '' && !/^(nodejs|process)_/.test(line))).toEqual([]);
    expect(promtool(command, ['check', 'metrics'], { input: '# HELP muster_x a\n# TYPE muster_x counter\nmuster_x 1\n', tastes: STYLE })).toContain(
      '_total',
    );
    expect(() => promtool(command, ['check', 'metrics'], { input: '# TYPE a counter\na{ 1\n', tastes: STYLE })).toThrow('error');
  });

  test('takes the rules and the configuration, and the alerts fire when they should', () => {
    expect(promtool(command, ['check', 'config', 'prometheus.yml'], { cwd })).toContain('SUCCESS: prometheus.yml is valid');
    expect(promtool(command, ['check', 'rules', 'rules.yml'], { cwd })).toContain(`SUCCESS: ${alerts.length} rules found`);
    expect(promtool(command, ['test', 'rules', 'rules.test.yml'], { cwd })).toContain('SUCCESS');
  });
});
