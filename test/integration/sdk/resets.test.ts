import { expect, test } from 'vitest';
import { redisUrl, uniquePool } from '../../helpers/redis.js';
import { startReplica } from '../../helpers/replica.js';
import { until } from '../../helpers/until.js';
import { cutter } from './cutter.js';
import { gate, newClient, startWorker } from './support.js';

/** Streams that end without a word: of a worker that was killed, and of workers behind a network that broke. */
const after = (ms: number, since: number) => until(() => performance.now() - since > ms, { what: `${ms} ms to pass` });

/** Workers behind one relay, each with a job that lasts until `open`; and what they began. */
async function workersBehind(target: string, pool: string, many: number) {
  const begun: string[] = [];
  const { opened, open } = gate();
  const start = (id: string, at: string) =>
    startWorker({ target: at, pool, id }, (worker) =>
      worker.handle('long', async (_: unknown, { id: job, attempt }) => {
        begun.push(`${job} ${attempt} ${id}`);
        await opened;
        return attempt;
      }),
    );
  for (let i = 0; i < many; i++) await start(`w${i}`, target);
  return { begun, open, start };
}

test('a worker that is killed costs its job less than 6 s, by default', async () => {
  const replica = await startReplica(redisUrl);
  const relay = await cutter(replica.target);
  const pool = uniquePool();
  const { begun, open, start } = await workersBehind(relay.target, pool, 1);
  const end = newClient({ target: replica.target }).run('long', 1, { pool, id: 'j' });
  await until(() => begun.length === 1);
  await start('other', replica.target);
  const killedAt = performance.now();
  // What a host does for a process that was killed: it closes its connections, and there is nobody to open others.
  relay.close();
  await until(() => begun.length === 2, { timeoutMs: 20_000, what: 'the job to run elsewhere' });
  const cost = performance.now() - killedAt;
  console.info(`FIGURE killedWorkerMs=${Math.round(cost)}`);
  expect(begun).toEqual(['j 1 w0', 'j 2 other']);
  open();
  expect(await end).toBe(2);
  expect(cost).toBeLessThan(6_000);
}, 30_000);

const SHORT = { RESET_GRACE_MS: 1_500, REATTACH_GRACE_MS: 10_000 };

test('a network that breaks streams for a moment costs no attempt', async () => {
  const replica = await startReplica(redisUrl, SHORT);
  const relay = await cutter(replica.target);
  const pool = uniquePool();
  const { begun, open, start } = await workersBehind(relay.target, pool, 1);
  const end = newClient({ target: replica.target }).run('long', 1, { pool, id: 'j' });
  await until(() => begun.length === 1);
  await start('other', replica.target);
  relay.refuse(true);
  const cutAt = performance.now();
  relay.cut();
  await after(600, cutAt);
  relay.refuse(false);
  await after(SHORT.RESET_GRACE_MS + 800, cutAt);
  open();
  expect(await end).toBe(1);
  expect(begun).toEqual(['j 1 w0']);
});

test('a proxy that is away for longer than a killed worker is waited for costs none of the workers behind it an attempt', async () => {
  const replica = await startReplica(redisUrl, SHORT);
  const relay = await cutter(replica.target);
  const pool = uniquePool();
  const { begun, open } = await workersBehind(relay.target, pool, 4);
  const client = newClient({ target: replica.target });
  const ends = ['a', 'b', 'c', 'd'].map((id) => client.run('long', 1, { pool, id }));
  await until(() => begun.length === 4);
  relay.refuse(true);
  const cutAt = performance.now();
  relay.cut();
  await after(SHORT.RESET_GRACE_MS + 1_000, cutAt);
  relay.refuse(false);
  open();
  expect(await Promise.all(ends)).toEqual([1, 1, 1, 1]);
  expect(begun).toHaveLength(4);
});
