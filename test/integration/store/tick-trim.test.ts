import { expect, test } from 'vitest';
import { keys } from '../../../src/store/keys.js';
import { failure, StoreFixture, type TestPool } from '../../helpers/store-fixture.js';

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
