import { expect, test } from 'vitest';
import { isTerminal } from '../../../src/domain/job.js';

test('the terminal states', () => {
  const states = ['scheduled', 'waiting', 'running', 'succeeded', 'failed', 'cancelled', 'expired'] as const;
  expect(states.filter(isTerminal)).toEqual(['succeeded', 'failed', 'cancelled', 'expired']);
});
