import { expect, test } from 'vitest';
import { systemClock } from '../../../src/domain/clock.js';
import { keys } from '../../../src/store/keys.js';
import { StoreFixture } from '../../helpers/store-fixture.js';
import { until } from '../../helpers/until.js';

const fixture = new StoreFixture();

test('one holder at a time; each lock by itself', async () => {
  const held = await fixture.r1.locks.acquire(keys.lock('a'), 10_000, 0);
  expect(held).toBeDefined();
  expect(await fixture.r2.locks.acquire(keys.lock('a'), 10_000, 0)).toBeUndefined();
  expect(await fixture.r2.locks.acquire(keys.lock('b'), 10_000, 0)).toBeDefined();
  expect(held?.remainingMs()).toBeLessThanOrEqual(10_000);
  expect(held?.remainingMs()).toBeGreaterThan(5_000);
});

test('released, it is another’s at once', async () => {
  const held = await fixture.r1.locks.acquire(keys.lock('c'), 10_000, 0);
  await held?.release();
  expect(await fixture.raw.exists(keys.lock('c'))).toBe(0);
  expect(await fixture.r2.locks.acquire(keys.lock('c'), 10_000, 0)).toBeDefined();
});

test('who waits has it when it is released within the wait, and has nothing when it is not', async () => {
  const held = await fixture.r1.locks.acquire(keys.lock('d'), 10_000, 0);
  expect(await fixture.r2.locks.acquire(keys.lock('d'), 10_000, 60)).toBeUndefined();
  const waiting = fixture.r2.locks.acquire(keys.lock('d'), 10_000, 10_000);
  await held?.release();
  expect(await waiting).toBeDefined();
});

test('it runs out by itself, and its holder is told', async () => {
  const held = await fixture.r1.locks.acquire(keys.lock('e'), 100, 0);
  await until(() => held?.signal.aborted, { what: 'the signal' });
  expect(held?.remainingMs()).toBeLessThanOrEqual(0);
  const next = await fixture.r2.locks.acquire(keys.lock('e'), 10_000, 5_000);
  expect(next).toBeDefined();
  // The first holder lets go late: what it had is not its own any more.
  await held?.release();
  expect(await fixture.r1.locks.acquire(keys.lock('e'), 10_000, 0)).toBeUndefined();
});

test('a lock whose answer took as long as it lasts is not handed out, and is given back', async () => {
  let skewMs = 0;
  // Every look at the clock is 950 ms after the last.
  const clock = { ...systemClock, monotonic: () => (skewMs += 950) };
  const slow = await fixture.store('slow', { clock });
  expect(await slow.locks.acquire(keys.lock('f'), 1_000, 0)).toBeUndefined();
  await until(async () => (await fixture.raw.exists(keys.lock('f'))) === 0, { what: 'the lock to be given back' });
  expect(await slow.locks.acquire(keys.lock('f'), 10_000, 0)).toBeDefined();
});

test('a lock from before the clock of Redis stepped back an hour runs out in its time', async () => {
  await fixture.raw.set(keys.lock('g'), 'a holder that died', 'PX', 3_600_000);
  expect(await fixture.r1.locks.acquire(keys.lock('g'), 200, 0)).toBeUndefined();
  expect(await fixture.r1.locks.acquire(keys.lock('g'), 10_000, 5_000)).toBeDefined();
});
