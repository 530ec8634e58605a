import { expect, test } from 'vitest';
import { systemClock } from '../../../src/domain/clock.js';
import { StoreFixture } from '../../helpers/store-fixture.js';

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
