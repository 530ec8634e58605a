import { expect, test } from 'vitest';
import { FORGIVE_GUESS_MS, GuessBudget, MAX_GUESSES } from '../../../src/links/guess-budget.js';
import { FakeClock } from '../../helpers/fake-clock.js';

const repeat = (times: number, act: () => void) => {
  for (let i = 0; i < times; i++) act();
};

test('guesses are forgiven one by one; the bound is exceeded by the one after it', async () => {
  const clock = new FakeClock();
  const budget = new GuessBudget(clock);
  repeat(MAX_GUESSES, () => budget.guess());
  expect(budget.exceeded).toBe(false);
  await clock.pass(2 * FORGIVE_GUESS_MS);
  repeat(2, () => budget.guess());
  expect(budget.exceeded).toBe(false);
  budget.guess();
  expect(budget.exceeded).toBe(true);
});

test('a lease that was given may come back unknown once; one of another worker always counts', () => {
  const budget = new GuessBudget(new FakeClock());
  budget.given(2);
  expect([budget.unknown(), budget.unknown(), budget.unknown()]).toEqual([false, false, true]);
  budget.given(1_000_000);
  repeat(4_096, () => expect(budget.unknown()).toBe(false));
  repeat(MAX_GUESSES, () => budget.guess());
  expect(budget.exceeded).toBe(true);
});
