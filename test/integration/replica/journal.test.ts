import { expect, test } from 'vitest';
import { PermanentError } from '../../../src/sdk/index.js';
import { redisUrl, uniquePool } from '../../helpers/redis.js';
import { startReplica } from '../../helpers/replica.js';
import { until } from '../../helpers/until.js';
import { newClient, rejection, startWorker } from '../sdk/support.js';

const TRACE = 'a'.repeat(32);
const SECRET = 'what nobody may read';

test("one job's way at debug can be joined by its id, and by its trace; no line holds what it brought or came to", async () => {
  const replica = await startReplica(redisUrl, { LOG_LEVEL: 'debug' });
  const pool = uniquePool();
  const worker = await startWorker({ target: replica.target, pool, id: 'w1' }, (one) =>
    one
      .handle('echo', (input: string) => input)
      .handle('bad', () => {
        throw new PermanentError(SECRET, { reason: 'bad' });
      }),
  );
  const client = newClient({ target: replica.target });
  const metadata = { traceparent: `00-${TRACE}-${'b'.repeat(16)}-01`, secret: SECRET };
  expect(await client.run('echo', SECRET, { pool, id: 'j1', metadata })).toBe(SECRET);
  await rejection(client.run('bad', SECRET, { pool, id: 'j2' }));
  await worker.stop({ graceMs: 0 });
  const of = (field: string, id: string) => replica.lines.filter((line) => line['pool'] === pool && line[field] === id);
  await until(() => of('worker', 'w1').some(({ msg }) => msg === 'worker dead'));

  const way = of('job', 'j1');
  expect(way.map(({ msg }) => msg).toSorted()).toEqual(['job assigned', 'job ended', 'job submitted']);
  for (const line of way) if (line['msg'] !== 'job ended') expect(line).toMatchObject({ pool, job: 'j1', trace_id: TRACE });
  expect(way.find(({ msg }) => msg === 'job ended')).toMatchObject({ worker: 'w1', state: 'succeeded', attempt: 1 });
  expect(of('job', 'j2').find(({ msg }) => msg === 'dead letter')).toMatchObject({ level: 40, reason: 'bad', attempt: '1' });
  expect(of('worker', 'w1').find(({ msg }) => msg === 'worker dead')).toMatchObject({ level: 30, reason: 'deregistered' });
  expect(of('worker', 'w1').map(({ msg }) => msg)).toContain('link opened');
  expect(JSON.stringify(replica.lines)).not.toContain(SECRET);
});
