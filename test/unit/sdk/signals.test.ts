import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { FOLDER, works } from '../../helpers/programs.js';

/** What a worker's process is left with once it has drained. */
const script = [process.execPath, '--import', 'tsx', 'test/helpers/signalled-process.ts'] as const;
const run = (file: string, ...args: string[]) => spawnSync(file, args, { cwd: FOLDER, encoding: 'utf8', timeout: 20_000, killSignal: 'SIGKILL' });
/** A process that is the first one of a container is the first one of a namespace of processes. */
const ALONE = ['--pid', '--fork', '--kill-child'];
const canBeFirst = works('unshare', [...ALONE, 'true']);

test('drained, it ends by the signal', () => {
  const { signal, stdout } = run(...script);
  expect([signal, stdout]).toEqual(['SIGTERM', 'drained\n']);
});

test(`so does the first process of a container, which is deaf to it${canBeFirst ? '' : ' (not tried: unshare is not allowed here)'}`, () => {
  if (!canBeFirst) return;
  const { status, stdout } = run('unshare', ...ALONE, ...script);
  expect([status, stdout]).toEqual([143, 'drained\n']);
});
