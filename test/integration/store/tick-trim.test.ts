import { expect, test } from 'vitest';
import { systemClock, systemRandom } from '../../../src/domain/clock.js';
import type { Matching } from '../../../src/jobs/matching.js';
import { Ticker } from '../../../src/jobs/ticker.js';
import { keys } from '../../../src/store/keys.js';
import { failure, StoreFixture, T0, type TestPool } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture();
const HOUR = 3_600_000;
const WEEK = 604_800_000;

async function deadLetter(p: TestPool, id: string): Promise<void> {
  const ref = await p.worker();
  await p.job(id, { payload: Buffer.from('in') });
  await p.finish([p.result(await p.lease(ref, id), failure({ retryable: false }))]);
}

test('a dead worker is forgotten after an hour, not 1 ms before, with all that it said', async () => {
  const p = await fixture.pool();
  const ref = await p.worker('w1', { labels: { a: 'b' }, kinds: ['k'] });
  await p.r1.workers.bury({ ...ref, boot: '' }, 0, 'evicted');
  await p.tick();
  await p.at(HOUR - 2);
  await p.tick();
  await p.at(HOUR - 1);
  expect(await p.diff(() => p.tick())).toEqual({ 'meta.ticked': `t+${HOUR - 2} → t+${HOUR - 1}` });
  await p.at(HOUR);
  await p.tick();
  const left = [...(await p.dump()).keys()].filter((path) => /w1/.test(path));
  expect(left).toEqual([]);
});

test('a worker that came back is not forgotten', async () => {
  const p = await fixture.pool();
  const ref = await p.worker();
  await p.r1.workers.bury({ ...ref, boot: '' }, 0, 'evicted');
  await p.worker();
  await p.at(HOUR);
  await p.tick();
  expect(await p.workerState()).toBe('free');
});

test('the list of finished jobs keeps the last ones; their keys have an end of their own', async () => {
  const p = await fixture.pool();
  const ref = await p.worker();
  for (const [i, id] of ['j1', 'j2', 'j3'].entries()) {
    await p.at(i);
    await p.job(id);
    await p.finish([p.result(await p.lease(ref, id))]);
  }
  expect(await p.diff(() => p.tick({ finishedKept: 2 }))).toEqual({ 'finished.j1': '- t+0', 'meta.ticked': '+ t+2' });
});

test('of dead letters the last ones are kept, the others go with their keys', async () => {
  const p = await fixture.pool();
  for (const [i, id] of ['j1', 'j2', 'j3'].entries()) {
    await p.at(i);
    await deadLetter(p, id);
  }
  const gone = await p.diff(() => p.tick({ buriedKept: 2 }));
  expect(gone).toMatchObject({ 'buried.j1': '- t+0', 'job:j1.state': '- failed', 'job:j1:payload': '- in', 'job:j1:error': '- 2 test final: no' });
  expect(Object.keys(gone).filter((path) => /j[23]/.test(path))).toEqual([]);
});

test('an entry of a dead letter whose job is alive again by other means takes no keys along', async () => {
  const p = await fixture.pool();
  await deadLetter(p, 'j1');
  await p.raw.del(keys.job(p.name, 'j1'));
  await p.r1.jobs.pause(p.name, true);
  await p.job('j1', { payload: Buffer.from('again') });
  const diff = await p.diff(() => p.tick({ buriedKept: 0 }));
  expect(diff).toEqual({ 'buried.j1': '- t+0', 'meta.ticked': '+ t+0' });
});

test('an entry of a dead letter ends with its retention, at 7 days and 1 ms', async () => {
  const p = await fixture.pool();
  await deadLetter(p, 'j1');
  await p.at(WEEK);
  await p.tick();
  expect(await p.raw.zrange(keys.buried(p.name), '0', '-1')).toEqual(['j1']);
  await p.at(WEEK + 1);
  await p.tick();
  expect(await p.raw.zrange(keys.buried(p.name), '0', '-1')).toEqual([]);
});

test('a home is dead at 6 s, not 1 ms before, and is named until it is forgotten', async () => {
  const p = await fixture.pool();
  await p.worker();
  await p.tick({}, p.r2);
  await p.at(3_000);
  await p.tick({}, p.r2);
  await p.at(5_999);
  expect((await p.tick({}, p.r2)).reply).toEqual([]);
  await p.at(6_000);
  expect((await p.tick({}, p.r2)).reply).toEqual(['r1']);
  expect((await p.tick({}, p.r2)).reply).toEqual(['r1']);
  await p.r2.workers.forgetHomes(p.name, ['r1']);
  expect((await p.tick({}, p.r2)).reply).toEqual([]);
});

test('20,000 finished jobs and 5,000 dead letters too many are gone in one round of the ticker, in short scripts', async () => {
  const p = await fixture.pool();
  const store = await fixture.store('trimmer');
  await p.tick({}, store);
  const seed = p.raw.pipeline();
  for (let i = 0; i < 20_100; i++) seed.zadd(keys.finished(p.name), T0 + i, `f${i}`);
  for (let i = 20_000; i < 20_100; i++) seed.hset(keys.job(p.name, `f${i}`), 'state', 'succeeded');
  for (let i = 0; i < 5_100; i++) {
    seed.zadd(keys.buried(p.name), T0 + i, `b${i}`);
    seed.hset(keys.job(p.name, `b${i}`), 'state', 'failed');
    seed.mset(keys.payload(p.name, `b${i}`), 'in', keys.error(p.name, `b${i}`), '{}');
  }
  await seed.exec();
  const matching = { call: async <T>(_pool: string, run: () => Promise<{ reply: T }>) => (await run()).reply } as unknown as Matching;
  const rest = { clock: systemClock, random: systemRandom, tickMs: 500, onDeadHomes: async () => undefined, onError: () => undefined };
  const ticker = new Ticker({ store, matching, finishedKept: 100, buriedKept: 100, ...rest });
  await p.raw.config('RESETSTAT');
  const begin = performance.now();
  await ticker.runOnce();
  const ms = Math.round(performance.now() - begin);
  expect(await p.raw.zrange(keys.finished(p.name), '0', '0')).toEqual(['f20000']);
  expect(await p.raw.zcard(keys.buried(p.name))).toBe(100);
  expect(await p.raw.exists(keys.job(p.name, 'b4999'), keys.payload(p.name, 'b4999'), keys.error(p.name, 'b4999'))).toBe(0);
  expect(await p.raw.exists(keys.job(p.name, 'b5000'))).toBe(1);
  const [, calls = '0', usec = '0'] = /cmdstat_evalsha:calls=(\d+),usec=(\d+)/.exec(await p.raw.info('commandstats')) ?? [];
  console.info(
    `FIGURE 20,000 finished and 5,000 dead letters trimmed in ${ms} ms by ${calls} scripts of ${Math.round(Number(usec) / Number(calls))} us`,
  );
  expect(Number(usec) / Number(calls)).toBeLessThan(2_000);
  expect(ms).toBeLessThan(5_000);
});

test('of dead workers the last thousand are kept, without what can be long', async () => {
  const p = await fixture.pool();
  await p.tick();
  const ref = await p.worker('w1', { labels: { a: 'b'.repeat(200) }, kinds: ['k'] });
  await p.r1.workers.bury({ ...ref, boot: '' }, 0, 'evicted');
  expect((await p.dump()).has('worker:w1:labels')).toBe(false);
  const seed = p.raw.pipeline();
  for (let i = 0; i < 1_500; i++)
    seed.zadd(keys.dead(p.name), T0 + 1 + i, `d${i}`).hset(keys.worker(p.name, `d${i}`), 'state', 'dead', 'listed', '0');
  await seed.exec();
  for (let more = true; more; ) ({ more } = await p.tick());
  expect(await p.raw.zrange(keys.dead(p.name), '0', '0')).toEqual(['d500']);
  expect(await p.raw.zcard(keys.dead(p.name))).toBe(1_000);
  expect(await p.raw.exists(keys.worker(p.name, 'w1'), keys.worker(p.name, 'd499'))).toBe(0);
});
