import { expect, test } from 'vitest';
import { StoreFixture } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture();

test('of each worker whether its link is the present one, and whether a probe of it could change anything', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  const standing = async (of = lease as Parameters<typeof p.r1.workers.standing>[1][number], by = p.r1) =>
    (await by.workers.standing(p.name, [{ pool: p.name, id: of.id, boot: of.boot, link: of.link }]))[0];
  expect(await p.diff(() => standing())).toEqual({});
  expect(await standing()).toBe('holds');
  expect(await standing({ ...lease, boot: 'other' })).toBe('moved');
  expect(await standing({ ...lease, link: '99' })).toBe('moved');
  expect(await standing({ ...lease, id: 'nobody' })).toBe('moved');
  expect(await standing(lease, p.r2)).toBe('moved');

  await p.r1.workers.suspect(lease, 9, 'missed');
  expect(await standing()).toBe('unsettled');
  await p.r1.workers.probed(lease, 0, false, []);
  expect(await standing()).toBe('holds');
  await p.r1.workers.suspect(lease, 1, 'missed');
  expect(await standing()).toBe('unsettled');
  await p.r1.workers.probed(lease, 0, false, []);

  await p.r1.jobs.cancel(p.name, ['j1']);
  expect(await standing()).toBe('unsettled');
  await p.r1.workers.probed(lease, 0, false, [{ what: 'idle', jobId: 'j1', fence: lease.fence }]);
  expect(await standing()).toBe('idle');
  await p.r1.workers.probed(lease, 0, true, []);
  expect(await standing()).toBe('unsettled');
});

test('many at once, in the order asked for', async () => {
  const p = await fixture.pool();
  const lease = await p.leased();
  const nobody = { ...lease, id: 'nobody' };
  expect(await p.r1.workers.standing(p.name, [nobody, lease, nobody])).toEqual(['moved', 'holds', 'moved']);
  expect(await p.r1.workers.standing(p.name, [])).toEqual([]);
});
