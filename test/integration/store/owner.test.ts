import { describe, expect, test } from 'vitest';
import { ANYBODY, NOBODY } from '../../../src/domain/identity.js';
import { keys } from '../../../src/store/keys.js';
import { StoreFixture, type TestPool } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture();

const register = async (p: TestPool, id: string, by: string, fields: Parameters<TestPool['info']>[1] = {}) =>
  (await p.r1.workers.register(p.info(id, fields), false, by)).reply.kind;

const attach = async (p: TestPool, by: string, boot = 'b1') =>
  (await p.r1.workers.attach({ pool: p.name, id: 'w1', region: '', slots: 1, labels: {}, kinds: [], version: '', boot }, [], by)).reply.kind;

const owner = (p: TestPool, id = 'w1') => p.raw.hget(keys.worker(p.name, id), 'owner');

describe.each([
  ['register', (p: TestPool, by: string) => register(p, 'w1', by)],
  ['attach', (p: TestPool, by: string) => attach(p, by)],
] as const)('%s', (_name, enter) => {
  test('writes whose the worker is, when it is somebody’s', async () => {
    const p = await fixture.pool();
    const diff = await p.diff(() => enter(p, 'ci'));
    expect(diff['worker:w1.owner']).toBe('+ ci');
    for (const by of [ANYBODY, NOBODY]) {
      const q = await fixture.pool();
      expect(Object.keys(await q.diff(() => enter(q, by)))).not.toContain('worker:w1.owner');
    }
  });

  test('of another’s worker is refused and writes nothing; its owner and who is not asked may', async () => {
    const p = await fixture.pool();
    await enter(p, 'ci');
    for (const by of ['other', NOBODY]) expect(await p.during(() => enter(p, by))).toEqual({ value: 'foreign', diff: {} });
    expect(await enter(p, 'ci')).toBe('ok');
    expect(await enter(p, ANYBODY)).toBe('ok');
    expect(await owner(p)).toBe('ci');
  });

  test('of nobody’s worker makes it the first one’s who says who he is', async () => {
    const p = await fixture.pool();
    await enter(p, NOBODY);
    expect(await enter(p, NOBODY)).toBe('ok');
    expect(await enter(p, 'ci')).toBe('ok');
    expect([await owner(p), await enter(p, 'other')]).toEqual(['ci', 'foreign']);
  });

  test('under the id of a dead one: the next one’s, or nobody’s', async () => {
    const p = await fixture.pool();
    await enter(p, 'ci');
    const bury = () => p.r1.workers.bury({ pool: p.name, id: 'w1', boot: '', link: '' }, 0, 'evicted');
    await bury();
    expect([await enter(p, 'other'), await owner(p)]).toEqual(['ok', 'other']);
    await bury();
    expect([await enter(p, NOBODY), await owner(p)]).toEqual(['ok', null]);
  });
});

test('the owner is judged before the family of contracts is told', async () => {
  const p = await fixture.pool();
  await register(p, 'w1', 'ci');
  expect(await register(p, 'w1', 'other', { contract: 'METHOD' })).toBe('foreign');
});

test('an address of another’s worker is not taken while that is heard, and is once it is suspect', async () => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1');
  await register(p, 'w1', 'ci');
  const here = { address: { ip: '10.0.0.1', port: 1 } };
  for (const by of ['other', NOBODY]) expect(await p.during(() => register(p, 'w2', by, here))).toEqual({ value: 'taken', diff: {} });
  const ref = { pool: p.name, id: 'w1', boot: 'w1-b1', link: '1' };
  await p.r1.workers.suspect(ref, 1, 'missed');
  expect(await register(p, 'w2', 'other', here)).toBe('ok');
  expect(await p.workerState('w1')).toBe('dead');
});

test('an address within one identity goes to the newcomer, as ever', async () => {
  const p = await fixture.pool();
  await register(p, 'w1', 'ci');
  expect(await register(p, 'w2', 'ci', { address: { ip: '10.0.0.1', port: 1 } })).toBe('ok');
  expect(await p.workerState('w1')).toBe('dead');
});

test('a beat and a goodbye count when they are the owner’s; of others they write nothing', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  await register(p, 'w1', 'ci');
  await p.at(1_000);
  const beat = (by: string) =>
    p.during(() => p.r1.workers.workerBeat(p.name, 'w1', lease.boot, [{ ...lease, done: false, progress: Buffer.from('x') }], by));
  for (const by of ['other', NOBODY]) {
    expect(await beat(by)).toEqual({ value: { known: 'foreign', revoked: [true] }, diff: {} });
    const { value, diff } = await p.during(() => p.r1.workers.deregister(p.name, 'w1', '', undefined, by));
    expect([value.reply, diff]).toEqual([{ status: 'foreign', held: 0 }, {}]);
  }
  for (const by of ['ci', ANYBODY]) expect((await beat(by)).value).toEqual({ known: 'ok', revoked: [false] });
  expect((await p.r1.workers.deregister(p.name, 'w1', '', undefined, 'ci')).reply).toEqual({ status: 'ok', held: 1 });
});

test('who reads the roll reads whose they are', async () => {
  const p = await fixture.pool();
  await register(p, 'w1', 'ci');
  await register(p, 'w2', ANYBODY);
  const records = await p.r1.readWorkers(p.name, ['w1', 'w2']);
  expect(records.map((record) => record?.owner)).toEqual(['ci', '']);
  expect(await Promise.all(['w1', 'w2', 'w3'].map((id) => p.r1.readOwner(p.name, id)))).toEqual([
    { owner: 'ci', state: 'free' },
    { owner: '', state: 'free' },
    { owner: '', state: '' },
  ]);
});

describe('operators', () => {
  const events = async (p: TestPool, act: () => Promise<unknown>) => (await p.diff(act))['events'] ?? '';

  test('each act that changes something is an event in the same script, none that does not', async () => {
    const p = await fixture.pool();
    await p.worker();
    const { jobs, workers } = p.r1;
    expect(await events(p, () => jobs.pause(p.name, true, 'eve'))).toBe('+ pool.paused | admin.PausePool identity=eve');
    expect(await events(p, () => jobs.pause(p.name, true, 'eve'))).toBe('');
    expect(await events(p, () => jobs.pause(p.name, false, 'eve'))).toBe('+ pool.resumed | admin.ResumePool identity=eve');
    expect(await events(p, () => workers.drain(p.name, 'w1', true, 'eve'))).toBe('+ worker.drained w1 | admin.DrainWorker w1 identity=eve');
    expect(await events(p, () => workers.drain(p.name, 'w1', true, 'eve'))).toBe('');
    expect(await events(p, () => workers.drain(p.name, 'w1', false, 'eve'))).toBe('+ worker.undrained w1 | admin.UndrainWorker w1 identity=eve');
    await p.job('j1');
    await p.r1.jobs.pause(p.name, true);
    await p.job('j2');
    expect(await events(p, () => jobs.purge(p.name, 'queued', 10, 'eve'))).toBe(
      '+ pool.purged queued count=1 | admin.PurgePool queued identity=eve count=1',
    );
    expect(await events(p, () => jobs.purge(p.name, 'queued', 10, 'eve'))).toBe('');
    expect(await events(p, () => jobs.retry(p.name, [{ id: 'j9' }], 'eve'))).toBe('');
    expect(await events(p, () => p.r1.writeDescriptors(p.name, Buffer.from('x'), 'eve'))).toBe('+ admin.PutPoolDescriptors identity=eve');
    const evict = () => workers.bury({ pool: p.name, id: 'w1', boot: '', link: '' }, 0, 'broken', 'eve');
    expect(await events(p, evict)).toContain('worker.dead w1 reason=broken | admin.EvictWorker w1 identity=eve reason=broken');
    expect(await events(p, evict)).toBe('');
  });
});
