import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { connect } from '../../src/sdk/connect.js';
import { jobSpec } from '../../src/sdk/run.js';
import { freePorts } from '../helpers/ports.js';
import { ownRedis } from '../helpers/redis.js';
import { ROOT } from '../helpers/source.js';
import { until } from '../helpers/until.js';
import { ATTACKS, type AttackName } from '../hostile/attacks.js';
import { besiegeByFrames } from '../hostile/frame-siege.js';
import { besiege, HEAP_MAX, memoryOf, serve } from '../hostile/siege.js';

const main = fileURLToPath(new URL('dist/main.js', ROOT));
/** Of jobs that take about 2 ms when all is calm; the enemy has one of two cores to itself. */
const P99_MAX_MS = 1_000;

test('hostile peers bring no replica down, keep no memory of it, and nobody else waits long for them', async () => {
  const attacks = Object.keys(ATTACKS) as AttackName[];
  const story: string[] = [];
  const found = await besiege({ main, attacks, scale: 'brief', tell: (line) => void story.push(line) });
  console.log(story.map((line) => `FIGURE siege: ${line}`).join('\n'));
  expect(found.map(({ attack }) => attack)).toEqual(attacks);
  for (const { attack, hits, failed, p99Ms, heap, alive } of found) {
    expect(hits, attack).toBeGreaterThan(0);
    expect({ alive, failed }, attack).toEqual({ alive: true, failed: 0 });
    expect(p99Ms, attack).toBeLessThan(P99_MAX_MS);
    expect(heap, attack).toBeLessThanOrEqual(HEAP_MAX);
  }
}, 300_000);

test('floods of frames from other identities delay no healthy client for long, fail none of its jobs, and cost no worker its health', async () => {
  const story: string[] = [];
  const kinds = ['empty frames', 'refused items', 'one id again', 'cancels', 'beats', 'results'] as const;
  const { floods, suspected, alive } = await besiegeByFrames({
    ...{ main, rounds: [kinds], forMs: 1_000, bytesPerSecond: 200 * 1_024 },
    tell: (line) => void story.push(line),
  });
  console.log(story.map((line) => `FIGURE siege by frames: ${line}`).join('\n'));
  expect({ alive, suspected, rounds: floods.length }).toEqual({ alive: true, suspected: 0, rounds: 1 });
  for (const { kind, sent, failed, p99Ms } of floods) {
    expect(sent, kind).toBeGreaterThan(0);
    expect(failed, kind).toBe(0);
    expect(p99Ms, kind).toBeLessThan(P99_MAX_MS);
  }
}, 120_000);

test('calls that wait for the ends of large jobs keep no payload that Redis has', async () => {
  const [redis, [port = 0, http = 0]] = await Promise.all([ownRedis(), freePorts(2)]);
  const replica = serve(main, redis.url, port, http);
  const api = connect(`127.0.0.1:${port}`, { deadlineMs: 60_000 });
  try {
    await until(async () => (await fetch(`http://127.0.0.1:${http}/readyz`)).ok, { timeoutMs: 30_000 });
    // More than one caller may have in work: the others are not read until there is room.
    const jobs = Array.from({ length: 100 }, (_, i) => `j${i}`);
    const payload = Buffer.alloc(256 * 1_024, 1);
    const work = { $case: 'kind', value: 'none' } as const;
    const runs = jobs.map((id) => api.runJob({ spec: jobSpec({ pool: 'm', id, work, payload }), wait: undefined, cancelOnDisconnect: false }));
    const waiting = async () => (await api.listPools({})).pools.find(({ name }) => name === 'm')?.waiting;
    await until(async () => (await waiting()) === String(jobs.length), { timeoutMs: 45_000, what: 'the jobs to be in Redis' });
    const { arrayBuffers } = await memoryOf(replica);
    console.log(`FIGURE waiting calls: ${(arrayBuffers / 1_048_576).toFixed(1)} MiB of buffers for payloads of 25 MiB`);
    expect(arrayBuffers).toBeLessThan(6 * 1_024 * 1_024);
    await Promise.all(jobs.map((id) => api.cancelJob({ pool: 'm', id })));
    expect((await Promise.all(runs)).length).toBe(jobs.length);
  } finally {
    api.close();
    replica.kill('SIGKILL');
  }
}, 120_000);
