import { describe, expect, test } from 'vitest';
import { backsOff } from '../../helpers/store-diffs.js';
import { StoreFixture, type TestPool } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture();

async function register(p: TestPool, id: string, fields: Parameters<TestPool['info']>[1] = {}, by = p.r1) {
  return (await by.workers.register(p.info(id, fields), false)).reply;
}

test('a new worker enters the roll, listed, with all that it said of itself', async () => {
  const p = await fixture.pool();
  const { value, diff } = await p.during(() => register(p, 'w1', { region: 'eu', labels: { a: 'b' }, kinds: ['k'], version: '2', slots: 2 }));
  expect(value).toEqual({ kind: 'ok', link: '1', state: 'free', revoked: 0, leases: [] });
  expect(diff).toEqual({
    'addresses.10.0.0.1:1': '+ w1',
    events: '+ worker.registered w1 address=10.0.0.1:1 contract=RUNNER',
    free: '+ w1',
    'homes.r1': '+ t+0',
    'meta.family': '+ RUNNER',
    'meta.fence': '+ 0',
    'worker:w1.address': '+ 10.0.0.1:1',
    'worker:w1.boot': '+ w1-b1',
    'worker:w1.contract': '+ RUNNER',
    'worker:w1.home': '+ r1',
    'worker:w1.link': '+ 1',
    'worker:w1.listed': '+ 1',
    'worker:w1.region': '+ eu',
    'worker:w1.joined': '+ t+0',
    'worker:w1.slots': '+ 2',
    'worker:w1.state': '+ free',
    'worker:w1.version': '+ 2',
    'worker:w1:kinds': '+ ["k"]',
    'worker:w1:labels': '+ {"a":"b"}',
    'workers.w1': '+ t+0',
  });
});

test('the same boot again changes its fields, keeps its leases and its one entry in the list', async () => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1', { info: { slots: 2, region: 'eu', labels: { a: 'b' } } });
  await p.at(1_000);
  const { value, diff } = await p.during(() => register(p, 'w1', { slots: 3, version: '2' }));
  expect(value).toEqual({ kind: 'ok', link: '1', state: 'free', revoked: 0, leases: [] });
  expect(diff).toEqual({
    'homes.r1': 't+0 → t+1000',
    'worker:w1.region': '- eu',
    'worker:w1.slots': '2 → 3',
    'worker:w1.version': '+ 2',
    'worker:w1:labels': '- {"a":"b"}',
    'workers.w1': 't+0 → t+1000',
  });
  expect(await p.free()).toEqual(['w1']);
});

test('a register whose reply was lost and that is sent again changes nothing', async () => {
  const p = await fixture.pool();
  await p.worker();
  expect(await p.diff(() => register(p, 'w1'))).toEqual({});
});

test('the same boot at another replica: that is its home now, and the link epoch grows', async () => {
  const p = await fixture.pool();
  await p.leased();
  const { value, diff } = await p.during(() => register(p, 'w1', {}, p.r2));
  expect(value).toMatchObject({ kind: 'ok', link: '2', revoked: 0 });
  expect(diff).toEqual({ 'homes.r2': '+ t+0', 'worker:w1.home': 'r1 → r2', 'worker:w1.link': '1 → 2' });
});

test('a new boot revokes what the old one held: delivered is an attempt spent, undelivered a handover', async () => {
  const p = await fixture.pool();
  const first = await p.leased('j1', 'w1', { info: { slots: 2 } });
  await p.job('j2');
  await p.lease(first, 'j2', false);
  await p.r1.jobs.pause(p.name, true);
  await p.at(1_000);
  const { value, diff } = await p.during(() => register(p, 'w1', { slots: 2, boot: 'w1-b2' }));
  expect(value).toEqual({ kind: 'ok', link: '2', state: 'free', revoked: 2, leases: [] });
  expect(diff).toEqual({
    ...backsOff('j1', '14 worker_lost retryable: the worker w1 started anew', 1_900),
    free: '+ w1',
    'held:w1.j1': '- F1',
    'held:w1.j2': '- F2',
    'homes.r1': 't+0 → t+1000',
    'job:j2.attempt': '1 → 0',
    'job:j2.handovers': '+ 1',
    'job:j2.state': 'running → waiting',
    'leases.j1': '- t+30000',
    'leases.j2': '- t+5000',
    'waiting:0': '+ j2',
    'worker:w1.boot': 'w1-b1 → w1-b2',
    'worker:w1.link': '1 → 2',
    'worker:w1.listed': '0 → 1',
    'worker:w1.previous': '+ w1-b1',
    'worker:w1.state': 'busy → free',
    'workers.w1': 't+0 → t+1000',
  });
});

test('a new boot empties the quarantine too, and its end', async () => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1', { job: { kind: '', method: '/a.B/C' }, info: { contract: 'METHOD' } });
  await p.r1.jobs.cancel(p.name, ['j1']);
  const { diff } = await p.during(() => register(p, 'w1', { contract: 'METHOD', boot: 'w1-b2' }));
  expect(diff).toMatchObject({ 'held:w1.j1': '- !F1', 'leases.!F1 w1 j1': '- t+60000', free: '+ w1' });
});

test('a superseded boot is refused and writes nothing', async () => {
  const p = await fixture.pool();
  await p.worker('w1', { boot: 'old' });
  await p.worker('w1', { boot: 'new' });
  const { value, diff } = await p.during(() => register(p, 'w1', { boot: 'old' }));
  expect(value).toEqual({ kind: 'superseded' });
  expect(diff).toEqual({});
});

test('a boot derived from the address comes back, however often', async () => {
  const p = await fixture.pool();
  for (const [i, boot] of ['10.0.0.1:1', '10.0.0.2:1', '10.0.0.1:1', '10.0.0.2:1'].entries()) {
    expect(await register(p, 'w1', { boot, bootDerived: true })).toMatchObject({ kind: 'ok', link: String(i + 1) });
  }
});

test('a newcomer at an address supersedes who was there: it is dead and what it held goes on', async () => {
  const p = await fixture.pool();
  await p.leased();
  await p.at(1_000);
  const { diff } = await p.during(() => register(p, 'w2', { address: { ip: '10.0.0.1', port: 1 } }));
  expect(diff).toMatchObject({
    ...backsOff('j1', '14 worker_lost retryable: the worker w1 is gone: superseded', 1_900),
    'addresses.10.0.0.1:1': 'w1 → w2',
    'dead.w1': '+ t+1000',
    events: '+ worker.dead w1 reason=superseded | worker.registered w2 address=10.0.0.1:1 contract=RUNNER',
    free: '+ w2',
    'held:w1.j1': '- F1',
    'worker:w1.reason': '+ superseded',
    'worker:w1.state': 'busy → dead',
    'workers.w1': '- t+0',
    'workers.w2': '+ t+1000',
  });
});

test('a worker that moves gives its old address up', async () => {
  const p = await fixture.pool();
  await p.worker();
  const diff = await p.diff(() => register(p, 'w1', { address: { ip: '10.0.0.9', port: 1 } }));
  expect(diff).toEqual({ 'addresses.10.0.0.1:1': '- w1', 'addresses.10.0.0.9:1': '+ w1', 'worker:w1.address': '10.0.0.1:1 → 10.0.0.9:1' });
});

test('another family is refused beside workers, jobs or leases, and settles once all are gone', async () => {
  const p = await fixture.pool();
  const other = { contract: 'METHOD' } as const;
  await p.leased();
  const refused = await p.during(() => register(p, 'w2', other));
  expect(refused).toEqual({ value: { kind: 'family', family: 'RUNNER' }, diff: {} });
  expect(await register(p, 'w1', other)).toEqual({ kind: 'family', family: 'RUNNER' });
  await p.r1.workers.bury({ pool: p.name, id: 'w1', boot: '', link: '' }, 0, 'evicted');
  expect(await register(p, 'w2', other)).toEqual({ kind: 'family', family: 'RUNNER' });
  await p.r1.jobs.cancel(p.name, ['j1']);
  const { value, diff } = await p.during(() => register(p, 'w2', other));
  expect(value).toMatchObject({ kind: 'ok' });
  expect(diff).toMatchObject({ 'meta.family': 'RUNNER → METHOD', free: '+ w2' });
});

test('a job for a method of its own keeps legacy workers out of a new pool, and no others', async () => {
  const p = await fixture.pool();
  await p.job('j1', { kind: '', method: '/bank.Ledger/Transfer' });
  const refused = await p.during(() => register(p, 'w1', { contract: 'LEGACY' }));
  expect(refused).toEqual({ value: { kind: 'family', family: 'METHOD' }, diff: {} });
  await p.r1.jobs.cancel(p.name, ['j1']);
  expect(await register(p, 'w1', { contract: 'LEGACY' })).toMatchObject({ kind: 'ok' });

  for (const contract of ['METHOD', 'RUNNER'] as const) {
    const other = await fixture.pool();
    await other.job('j1', { kind: '', method: '/bank.Ledger/Transfer' });
    expect(await register(other, 'w1', { contract })).toMatchObject({ kind: 'ok' });
    expect(await other.state('j1')).toBe('running');
  }
  const old = await fixture.pool();
  await old.job('j1', { kind: '', method: '/job.JobService/RunJob' });
  expect(await register(old, 'w1', { contract: 'LEGACY' })).toMatchObject({ kind: 'ok' });
  expect(await old.state('j1')).toBe('running');
});

test('a drained worker stays drained in its next life', async () => {
  const p = await fixture.pool();
  await p.worker();
  await p.r1.workers.drain(p.name, 'w1', true);
  expect(await register(p, 'w1', { boot: 'w1-b2' })).toMatchObject({ kind: 'ok', state: 'draining' });
  expect(await p.free()).toEqual([]);
});

test('a dead worker is back under the same boot, over a new link', async () => {
  const p = await fixture.pool();
  await p.worker();
  await p.r1.workers.bury({ pool: p.name, id: 'w1', boot: '', link: '' }, 0, 'evicted');
  await p.at(1_000);
  const diff = await p.diff(() => register(p, 'w1'));
  expect(diff).toEqual({
    'addresses.10.0.0.1:1': '+ w1',
    'dead.w1': '- t+0',
    events: '+ worker.registered w1 address=10.0.0.1:1 contract=RUNNER',
    free: '+ w1',
    'homes.r1': 't+0 → t+1000',
    'worker:w1.link': '1 → 2',
    'worker:w1.listed': '0 → 1',
    'worker:w1.reason': '- evicted',
    'worker:w1.joined': 't+0 → t+1000',
    'worker:w1.state': 'dead → free',
    'workers.w1': '+ t+1000',
  });
});

test('fewer slots than it holds: the surplus ends with the attempts', async () => {
  const p = await fixture.pool();
  const first = await p.leased('j1', 'w1', { info: { slots: 2 } });
  await p.job('j2');
  await p.job('j3');
  expect(await register(p, 'w1', { slots: 1 })).toMatchObject({ kind: 'ok', state: 'busy', revoked: 0 });
  const { assignments } = await p.finish([p.result(first)]);
  expect(assignments).toEqual([]);
  expect(await p.workerState()).toBe('busy');
});

test('a worker that registers takes what waits, at once', async () => {
  const p = await fixture.pool();
  await p.job();
  const { assignments } = await p.r1.workers.register(p.info(), false);
  expect(p.given(assignments)).toEqual(['j1 F1 w1 1']);
});

describe('the same boot at another replica, while it holds something: its leases move', () => {
  const job = { kind: '', method: '/job.JobService/RunJob' };
  const moved = async (contract: 'RUNNER' | 'LEGACY' | 'METHOD', ownerLives: boolean) => {
    const p = await fixture.pool();
    const info = { contract, slots: 2 };
    const given = contract === 'RUNNER' ? {} : job;
    await p.leased('j1', 'w1', { info, job: given });
    await p.job('j2', given);
    await p.at(ownerLives ? 1_000 : 6_000);
    const { value, diff } = await p.during(() => p.r2.workers.register(p.info('w1', info), true));
    const leases = 'leases' in value.reply ? value.reply.leases.map(({ jobId, delivered }) => `${jobId} ${delivered}`) : [];
    return { assignments: p.given(value.assignments), leases, second: diff['job:j2.delivered'], due: diff['leases.j2'] };
  };

  test.each([true, false])('a RUNNER is sent all of them again (its owner lives: %s)', async (ownerLives) => {
    expect((await moved('RUNNER', ownerLives)).assignments).toEqual(['j1 F1 w1 2', 'j2 F2 w1 2']);
  });

  test.each(['LEGACY', 'METHOD'] as const)('a %s worker whose owner lives is sent none: its calls go on there', async (contract) => {
    expect(await moved(contract, true)).toEqual({ assignments: [], leases: [], second: '0 → 1', due: 't+5000 → t+6000' });
  });

  test.each(['LEGACY', 'METHOD'] as const)('a %s worker whose owner is gone is sent what was never delivered', async (contract) => {
    expect(await moved(contract, false)).toMatchObject({ assignments: ['j2 F2 w1 2'], leases: ['j1 true', 'j2 false'], second: undefined });
  });
});
