import { afterEach, expect, test } from 'vitest';
import { Child } from '../../helpers/children.js';
import { until } from '../../helpers/until.js';

let child: Child | undefined;
afterEach(() => child?.dispose());

/** A process that logs twice and then does that. */
function logs(andThen: string): Child {
  const code = `const { createLog } = await import('./src/lifecycle/log.js');
    const log = createLog('info', 'r');
    log.info('one');
    log.warn({ failpoint: 'x' }, 'two');
    ${andThen}`;
  child = new Child('logs', ['--import', 'tsx', '--input-type=module', '-e', code]);
  return child;
}

test.each([
  ['stands still', "process.kill(process.pid, 'SIGSTOP');"],
  ['ends', 'process.exit(3);'],
  ['is killed', "process.kill(process.pid, 'SIGKILL');"],
])('what was logged just before a process %s is there', async (_how, code) => {
  const { lines } = logs(code);
  await until(() => lines.length >= 2, { what: 'both lines' });
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    { level: 30, replica: 'r', msg: 'one' },
    { level: 40, replica: 'r', failpoint: 'x', msg: 'two' },
  ]);
});

test('a reader that is gone keeps no process from ending', async () => {
  const code = `const { createLog } = await import('./src/lifecycle/log.js');
    const log = createLog('info', 'r');
    log.info('one');
    process.stdin.ref();
    process.stdin.on('data', () => { for (let i = 0; i < 100; i++) log.info('nobody reads'); process.exit(3); });`;
  child = new Child('logs', ['--import', 'tsx', '--input-type=module', '-e', code]);
  const { lines } = child;
  await until(() => lines.length > 0);
  child.deafen();
  child.tell('end');
  expect(await child.ended()).toBe(3);
});
