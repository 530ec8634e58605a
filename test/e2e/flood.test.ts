import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Client, Worker } from '../../src/sdk/index.js';
import { type Ca, createCa } from '../helpers/certs.js';
import { Child, scriptArgs } from '../helpers/children.js';
import { Cluster, untilIn } from '../helpers/cluster.js';
import { Exposition } from '../helpers/exposition.js';
import type { FloodSettings, Knock } from '../helpers/flood-process.js';
import { testFile, token } from '../helpers/secured.js';

/** `FLOOD_CONNECTIONS=10000 npm test -- --project busy test/e2e/flood.test.ts` for more of them, and the figures; a multiple of 8. */
const CONNECTIONS = Number(process.env['FLOOD_CONNECTIONS'] ?? 800);
const AT_ONCE = 50;
const CALM_JOBS = 100;
/** The knocking is the load here. */
const BETWEEN_JOBS_MS = 20;
/** Of a replica that has seen the flood: what V8 and OpenSSL keep for the next one. */
const GROWTH_MAX_BYTES = 96 * 2 ** 20;
const TIMEOUT_MS = 30_000 + 20 * CONNECTIONS;

const CLIENT = token('client', 'shop');
const WORKER = token('worker', 'fleet');
let servers: Ca;
let clients: Ca;
let cluster: Cluster;

beforeAll(async () => {
  [servers, clients] = [await createCa('servers'), await createCa('clients')];
  const own = await servers.issue(['127.0.0.1', 'localhost']);
  const file = (name: string, text: string) => testFile(name, text).path;
  cluster = await Cluster.start({
    replicas: 2,
    timeScale: 1,
    redis: {},
    settings: {
      ...{ INSECURE: 'false', TLS_CERT: file('tls.crt', own.cert), TLS_KEY: file('tls.key', own.key), TLS_CLIENT_CA: file('ca.crt', clients.cert) },
      ...{ TOKENS_FILE: file('tokens', `${CLIENT.line}\n${WORKER.line}\n`), PREFACE_MS: '1000', STOP_LEAD_MS: '0' },
    },
  });
});
afterAll(() => cluster?.dispose());

const CALL = { path: '/muster.v1.JobService/SubmitJob' };

/** Each in its turn, and what the replica counts it as. */
async function knocks(): Promise<[what: string, knock: Knock, counted: string][]> {
  const [forger, names] = [await createCa('clients'), ['muster:client:shop']];
  return [
    ['no certificate, no token', { tls: {}, call: CALL }, 'NO_CREDENTIALS'],
    ['a certificate of another authority', { tls: await forger.issue(names), call: CALL }, 'NO_CREDENTIALS'],
    ['an expired one', { tls: await clients.issue(names, { days: -1 }), call: CALL }, 'NO_CREDENTIALS'],
    ['one without a role', { tls: await clients.issue(['muster:visitor:shop']), call: CALL }, 'NO_ROLE'],
    ['an unknown token', { tls: {}, call: { ...CALL, authorization: `Bearer ${token('client', 'shop').secret}` } }, 'BAD_TOKEN'],
    ['a token of another role', { tls: {}, call: { ...CALL, authorization: `Bearer ${WORKER.secret}` } }, 'ROLE_REFUSED'],
    ['plaintext', { call: { ...CALL, authorization: `Bearer ${CLIENT.secret}` } }, 'tls'],
    ['TLS and then silence', { tls: {} }, 'silent'],
  ];
}

/** Runs jobs at both replicas until `over`; their times in ms. */
class Jobs {
  readonly timesMs: number[] = [];

  constructor(private readonly at: Client[]) {}

  async runUntil(over: () => boolean): Promise<void> {
    const ask = async (client: Client, first: number) => {
      for (let n = first; !over(); n += this.at.length) {
        const before = performance.now();
        expect(await client.run('echo', n, { pool: 'p' })).toBe(n);
        this.timesMs.push(performance.now() - before);
        await pause(BETWEEN_JOBS_MS);
      }
    };
    await Promise.all(this.at.map(ask));
  }

  quantile(q: number): number {
    const sorted = this.timesMs.toSorted((a, b) => a - b);
    return Number((sorted[Math.floor(q * (sorted.length - 1))] ?? Number.NaN).toFixed(1));
  }

  toString(): string {
    return `${this.timesMs.length} jobs, p50 ${this.quantile(0.5)} ms, p99 ${this.quantile(0.99)} ms, longest ${this.quantile(1)} ms`;
  }
}

const rssBytes = (pid: number) => Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1_024;
const descriptors = (pid: number) => readdirSync(`/proc/${pid}/fd`).length;
const mib = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`;

test.runIf(process.platform === 'linux')(
  `${CONNECTIONS} connections that should get nowhere are refused and counted, jobs go on, and nothing is left of them`,
  async () => {
    const way = (i: number, secret: string) => ({ target: cluster.targetOf(i), tls: { ca: servers.cert }, token: secret });
    const workers = [0, 1].map((i) => new Worker({ ...way(i, WORKER.secret), pool: 'p', id: `w${i}`, slots: 4 }).handle('echo', (n: number) => n));
    await Promise.all(workers.map((worker) => worker.start({ signals: false })));
    const shops = [0, 1].map((i) => new Client(way(i, CLIENT.secret)));
    const calm = new Jobs(shops);
    await calm.runUntil(() => calm.timesMs.length >= CALM_JOBS);

    const { child, httpPort } = cluster.replica(0);
    const all = await knocks();
    // A scrape's connection is one of those that are counted.
    await Exposition.at(httpPort);
    const [rssBefore, descriptorsBefore] = [rssBytes(child.pid), descriptors(child.pid)];
    const settings: FloodSettings = {
      ...{ port: cluster.replica(0).grpcPort, connections: CONNECTIONS, atOnce: AT_ONCE },
      knocks: all.map(([, knock]) => knock),
    };
    const began = performance.now();
    const flood = new Child('flood', scriptArgs('test/helpers/flood-process.ts'), { FLOOD: JSON.stringify(settings) });
    let [over, most] = [false, 0];
    const flooded = flood.said('flooded', TIMEOUT_MS).finally(() => {
      over = true;
    });
    const during = new Jobs(shops);
    const [ends] = await Promise.all([
      flooded,
      during.runUntil(() => {
        most = Math.max(most, descriptors(child.pid));
        return over;
      }),
    ]);
    const tookS = (performance.now() - began) / 1_000;

    const each = CONNECTIONS / all.length;
    expect(ends).toMatchObject({ answered: 6 * each, cut: 2 * each });
    await untilIn(cluster, () => descriptors(child.pid) <= descriptorsBefore, { what: 'its descriptors to be as before' });
    const rssAfter = rssBytes(child.pid);
    const metrics = await Exposition.at(httpPort);
    const counted = (reason: string) =>
      metrics.of('muster_auth_refused_total', { reason }) ?? metrics.of('muster_connections_refused_total', { listener: 'grpc', reason }) ?? 0;
    const reasons = [...new Set(all.map(([, , reason]) => reason))];
    const wanted = reasons.map((reason) => [reason, each * all.filter(([, , one]) => one === reason).length]);
    expect(reasons.map((reason) => [reason, counted(reason)])).toEqual(wanted);
    // In the log a line a reason and some seconds, not one a connection.
    const lines = child.lines.filter((line) => /calls are refused|connections are closed/.test(line));
    expect(lines.length).toBeLessThan(reasons.length * (2 + tookS / 5));
    expect(cluster.faults()).toEqual([]);
    expect(during.timesMs.length).toBeGreaterThan(10);
    expect(rssAfter - rssBefore).toBeLessThan(GROWTH_MAX_BYTES);
    const figures = [
      `${CONNECTIONS} connections in ${tookS.toFixed(1)} s: ${wanted.map(([reason, n]) => `${n} ${reason}`).join(', ')}`,
      `calm: ${calm}`,
      `during: ${during}`,
      `RSS ${mib(rssBefore)} before, ${mib(rssAfter)} after; descriptors ${descriptorsBefore} before, ${most} at the most, ${descriptors(child.pid)} after`,
    ];
    console.log(figures.map((line) => `FIGURE flood: ${line}`).join('\n'));
    await Promise.all([...workers.map((worker) => worker.stop({ graceMs: 0 })), ...shops.map((shop) => shop.close())]);
  },
  TIMEOUT_MS,
);
