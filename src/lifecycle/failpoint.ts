import { armFailpoint, parseFailpoint } from '../domain/failpoints.js';
import type { Logger } from './log.js';

/** What a process ends with at a failpoint: nothing else does. */
export const FAILPOINT_EXIT = 86;

/** Arms what MUSTER_FAILPOINT says; '' is nothing. What happens is logged first, so that whoever asked for it knows that it did. */
export function arm(text: string, log: Logger): void {
  if (text === '') return;
  const plan = parseFailpoint(text);
  armFailpoint(plan, () => {
    log.warn({ failpoint: plan.name, action: plan.action }, 'failpoint reached');
    if (plan.action === 'exit') process.exit(FAILPOINT_EXIT);
    if (plan.action === 'stop') process.kill(process.pid, 'SIGSTOP');
    else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, plan.ms);
  });
}
