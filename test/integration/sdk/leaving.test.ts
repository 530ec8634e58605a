import { expect, test } from 'vitest';
import { connect, WorkerState } from '../../../src/sdk/index.js';
import { redisUrl, uniquePool } from '../../helpers/redis.js';
import { startReplica } from '../../helpers/replica.js';
import { until } from '../../helpers/until.js';
import { cutter } from './cutter.js';
import { gate, Log, newClient, startWorker } from './support.js';

async function stateOf(target: string, pool: string, id: string): Promise<string> {
  const api = connect(target);
  try {
    const { worker } = await api.getWorker({ pool, id });
    return WorkerState[worker?.state ?? 0] ?? '';
  } finally {
    api.close();
  }
}

test('a draining worker gets no more jobs, ends what it has, and is off the roll', async () => {
  const replica = await startReplica(redisUrl);
  const { target } = replica;
  const pool = uniquePool();
  const { opened, open } = gate();
  const worker = await startWorker({ target, pool, id: 'w', slots: 2 }, (made) => made.handle('wait', () => opened.then(() => 'done')));
  const client = newClient({ target });
  const first = await client.submit('wait', 1, { pool });
  await until(() => worker.running === 1);
  let drained = false;
  const draining = worker.drain().then(() => {
    drained = true;
  });
  await until(async () => (await stateOf(target, pool, 'w')) === 'WORKER_STATE_DRAINING');
  const second = await client.submit('wait', 2, { pool });
  expect([drained, worker.running]).toEqual([false, 1]);
  open();
  expect(await first.result()).toBe('done');
  await draining;
  expect(await stateOf(target, pool, 'w')).toBe('WORKER_STATE_DEAD');
  expect((await second.get()).state).toBe('waiting');
  await startWorker({ target, pool, id: 'w2' }, (made) => made.handle('wait', () => 'other'));
  expect(await second.result()).toBe('other');
});

test('await using stops it at the end of the block', async () => {
  const { target } = await startReplica(redisUrl);
  const pool = uniquePool();
  {
    await using worker = await startWorker({ target, pool, id: 'w' }, (made) => made.handle('echo', (input: unknown) => input));
    await using client = newClient({ target });
    expect(await client.run('echo', 5, { pool })).toBe(5);
    expect(worker.attached).toBe(true);
  }
  expect(await stateOf(target, pool, 'w')).toBe('WORKER_STATE_DEAD');
});

test('resize: more slots take more jobs, none takes none', async () => {
  const { target } = await startReplica(redisUrl);
  const pool = uniquePool();
  const { opened, open } = gate();
  const worker = await startWorker({ target, pool, slots: 0 }, (made) => made.handle('wait', () => opened.then(() => 1)));
  const client = newClient({ target });
  const handles = await Promise.all([1, 2, 3].map((n) => client.submit('wait', n, { pool })));
  worker.resize(2);
  await until(() => worker.running === 2);
  worker.resize(3);
  await until(() => worker.running === 3);
  open();
  await Promise.all(handles.map((handle) => handle.result()));
});

test('a result whose stream breaks before it is settled is brought again: accepted, and not run twice', async () => {
  const { target } = await startReplica(redisUrl);
  const proxy = await cutter(target);
  const pool = uniquePool();
  const log = new Log();
  const { opened, open } = gate();
  const worker = await startWorker({ target: proxy.target, pool }, (made) =>
    made.handle('wait', async (_: unknown, { id, attempt }) => {
      log.lines.push(`start ${id}`);
      await opened;
      return attempt;
    }),
  );
  const handle = await newClient({ target }).submit('wait', 1, { pool, id: 'j' });
  await until(() => worker.running === 1);
  // The result is made while there is no stream; the worker comes back with it.
  proxy.refuse(true);
  proxy.cut();
  await until(() => !worker.attached);
  open();
  await until(() => worker.running === 0);
  proxy.refuse(false);
  expect(await handle.result()).toBe(1);
  expect(log.starts('j')).toBe(1);
});
