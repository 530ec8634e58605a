import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { WorkerRef } from '../../../src/domain/worker.js';
import { keys } from '../../../src/store/keys.js';
import { failure, StoreFixture, success, T0, type TestPool } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture({ limits: { FORGET_MS: 20_000, BURIED_RETENTION_MS: 25_000, QUARANTINE_MAX_MS: 12_000 } });
const HOUR = 3_600_000;
const SECONDS = 45;

/** The sorted sets of a pool that hold times, by the comments of keys.ts: a new one cannot be forgotten here. */
const ZSET = /\/\*\* ZSET: [^\n]*\(ms\)[^\n]*\n {2}(\w+): \(name/g;
const TIMES = [...readFileSync(new URL('../../../src/store/keys.ts', import.meta.url), 'utf8').matchAll(ZSET)].map(([, name]) => name ?? '').sort();
type Times = 'workers' | 'dead' | 'leases' | 'later' | 'deadlines' | 'buried' | 'finished' | 'homes';

/** Puts something into every sorted set that waits for a time. Answers with the workers that nobody hears from now on. */
async function everythingWaits(p: TestPool): Promise<WorkerRef[]> {
  const busy = await p.worker('w1', { slots: 8 }, p.r2);
  for (const id of ['lost', 'again', 'ended', 'broken']) await p.job(id, { runTimeoutMs: 20_000 });
  const lease = async (id: string) => p.lease(busy, id, true, p.r2);
  await lease('lost');
  await p.finish([p.result(await lease('again'), { ...failure(), retryAfterMs: 9_000 })], { by: p.r2 });
  await p.finish([p.result(await lease('ended'), success())], { by: p.r2 });
  await p.finish([p.result(await lease('broken'), failure({ retryable: false }))], { by: p.r2 });
  await p.r1.jobs.pause(p.name, true);
  await p.job('queued', { queueTimeoutMs: 11_000 });
  await p.job('delayed', { notBefore: T0 + 13_000 });
  await p.job('total', { totalTimeoutMs: 17_000 });
  const gone = await p.worker('w2', {}, p.r2);
  await p.r1.workers.bury({ ...gone, boot: '' }, 0, 'evicted');
  const stream = { pool: p.name, id: 'w3', region: '', slots: 1, labels: {}, kinds: [], version: '', boot: 'b1' };
  const attached = await p.r2.workers.attach(stream, []);
  const link = attached.reply.kind === 'ok' ? attached.reply.link : '';
  await p.r2.workers.detach({ pool: p.name, id: 'w3', boot: 'b1', link }, 'stream', 15_000);
  return [busy];
}

const members = async (p: TestPool): Promise<string[]> => {
  const all = await Promise.all(TIMES.map(async (set) => (await p.raw.zrange(keys[set as Times](p.name), '0', '-1')).map((id) => `${set} ${id}`)));
  return all.flat();
};

/** Lets 45 s pass, each a tick, on a clock that is `offMs(second)` wrong. Answers in which second each member was gone. */
async function endsOf(offMs: (second: number) => number): Promise<{ sets: Set<string>; ends: Map<string, number> }> {
  const p = await fixture.pool();
  await p.tick();
  const silent = await everythingWaits(p);
  const first = await members(p);
  const ends = new Map<string, number>();
  for (let second = 1; second <= SECONDS; second++) {
    await p.at(second * 1_000 + offMs(second));
    await p.r1.workers.beat(p.name, [], false);
    const homes = (await p.tick({ finishedKept: second < 20 ? 100 : 2 })).reply;
    await p.r1.workers.forgetHomes(p.name, homes === 'gone' ? [] : homes);
    for (const ref of silent) await p.r1.workers.bury(ref, 8_000, 'silent');
    const there = new Set(await members(p));
    for (const member of first) if (!there.has(member) && !ends.has(member)) ends.set(member, second);
  }
  return { sets: new Set(first.map((member) => member.split(' ')[0] ?? '')), ends };
}

test.each<[string, (second: number) => number]>([
  ['an hour back', (second) => (second < 3 ? 0 : -HOUR)],
  ['an hour back, and right again', (second) => (second < 3 || second > 6 ? 0 : -HOUR)],
  ['an hour back, twice', (second) => (second < 3 ? 0 : second < 8 ? -HOUR : -2 * HOUR)],
])('a clock that steps %s: what waits for a time waits as long as it would have', async (_, offMs) => {
  const steady = await endsOf(() => 0);
  const stepped = await endsOf(offMs);
  expect([...steady.sets].sort()).toEqual(TIMES);
  expect(
    [...steady.ends.keys()]
      .map((member) => member.split(' ')[0])
      .filter((set, i, all) => all.indexOf(set) === i)
      .sort(),
  ).toEqual(TIMES);
  expect([...stepped.ends.keys()].sort()).toEqual([...steady.ends.keys()].sort());
  for (const [member, second] of steady.ends) {
    const at = stepped.ends.get(member) ?? Number.POSITIVE_INFINITY;
    expect(at, member).toBeGreaterThanOrEqual(second);
    // A second is lost with each step, and a tenth of the time until the clock is that of Redis again.
    expect(at, member).toBeLessThanOrEqual(Math.ceil(second * 1.1) + 4);
  }
});

test('a time that a caller named is one of the clock that Redis has when it comes', async () => {
  const p = await fixture.pool();
  await p.tick();
  await p.at(-HOUR);
  await p.tick();
  await p.job('j1', { notBefore: T0 - HOUR + 4_000 });
  expect(await p.state()).toBe('scheduled');
  await p.at(-HOUR + 3_500);
  await p.tick();
  expect(await p.state()).toBe('scheduled');
  await p.at(-HOUR + 4_500);
  await p.tick();
  expect(await p.state()).toBe('waiting');
});
