import { expect, test } from 'vitest';
import { connect } from '../../../src/sdk/connect.js';
import { runToEnd } from '../../../src/sdk/run.js';
import { Child, mainArgs } from '../../helpers/children.js';
import { redisUrl, uniquePool } from '../../helpers/redis.js';
import { startReplica } from '../../helpers/replica.js';
import { until } from '../../helpers/until.js';

const kind = (value: string) => ({ $case: 'kind', value }) as const;

test('muster demo-worker runs its kinds, and told to stop ends what it holds before it exits 0', async () => {
  const { target } = await startReplica(redisUrl);
  const pool = uniquePool();
  const api = connect(target);
  const worker = new Child('demo-worker', [...mainArgs(), 'demo-worker', '--target', target, '--pool', pool, '--id', 'd1']);
  try {
    const run = (work: string, payload: string) => runToEnd(api, { pool, work: kind(work), payload: Buffer.from(payload) });
    expect(await run('echo', 'hello')).toMatchObject({ worker: 'd1', outcome: { value: Buffer.from('hello') } });
    expect(await run('sha256', 'hello')).toMatchObject({
      outcome: { value: Buffer.from('2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824') },
    });
    expect(await run('sleep', 'long')).toMatchObject({ attempt: 1, outcome: { $case: 'failure' } });

    const sleeping = run('sleep', '700');
    await until(async () => (await api.getWorker({ pool, id: 'd1' })).worker?.held.length === 1, { what: 'the job to run' });
    worker.signal('SIGTERM');
    expect(await sleeping).toMatchObject({ attempt: 1, outcome: { value: Buffer.from('700') } });
    expect(await worker.ended()).toBe(0);
    expect(worker.lines.at(-1)).toBe('drained');
  } finally {
    await worker.dispose();
    api.close();
  }
});
