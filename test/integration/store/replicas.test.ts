import { expect, test } from 'vitest';
import { systemClock } from '../../../src/domain/clock.js';
import { keys } from '../../../src/store/keys.js';
import { StoreFixture } from '../../helpers/store-fixture.js';
import { until } from '../../helpers/until.js';

const fixture = new StoreFixture();
const HOUR_MS = 3_600_000;

test.each([HOUR_MS, -HOUR_MS])('a replica whose clock is %i ms off leaves the others on the list, and stands on it', async (offMs) => {
  const wrong = await fixture.store('wrong', { clock: { ...systemClock, now: () => systemClock.now() + offMs } });
  const record = (id: string) => ({
    id,
    address: 'a',
    version: '1',
    links: 0,
    startedAt: 0,
    draining: false,
    listens: ['10.0.0.1:1', '[fd00::1]:2'],
  });
  for (const [store, id] of [
    [fixture.r1, 'r1'],
    [wrong, 'wrong'],
    [fixture.r2, 'r2'],
  ] as const) {
    await store.writeReplica(record(id), 6_000);
  }
  const listed = await fixture.r1.readReplicas();
  expect(listed.map(({ id }) => id).sort()).toEqual(['r1', 'r2', 'wrong']);
  expect(listed[0]?.listens).toEqual(['10.0.0.1:1', '[fd00::1]:2']);
});

test('a replica that died before the clock of Redis stepped back an hour is off the list in its time; one that lives stays', async () => {
  const [seconds] = await fixture.raw.time();
  const before = Number(seconds) * 1_000 + HOUR_MS;
  for (const id of ['died', 'lives']) {
    await fixture.raw.zadd(keys.replicas, before, id);
    await fixture.raw.hset(keys.replica(id), 'address', 'a');
    await fixture.raw.pexpire(keys.replica(id), HOUR_MS);
  }
  const record = (id: string) => ({ id, address: 'a', version: '1', links: 0, startedAt: 0, draining: false, listens: [] });
  await fixture.r1.writeReplica(record('r1'), 300);
  const listed = async () => (await fixture.r1.readReplicas()).map(({ id }) => id);
  expect(await listed()).toContain('died');
  await until(async () => {
    await fixture.r1.writeReplica(record('lives'), 300);
    return !(await listed()).includes('died');
  });
  expect(await listed()).toContain('lives');
});
