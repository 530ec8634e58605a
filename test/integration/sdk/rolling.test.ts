import { createServer, connect as dial, type Server, type Socket } from 'node:net';
import { afterAll, expect, test } from 'vitest';
import { redisUrl, uniquePool } from '../../helpers/redis.js';
import { type InProcess, startReplica } from '../../helpers/replica.js';
import { Log, newClient, startWorker } from './support.js';

const SETTINGS = { STOP_LEAD_MS: 100, STOP_GRACE_MS: 20_000, REATTACH_GRACE_MS: 5_000 };
const ROLLS = 3;

const servers: Server[] = [];
afterAll(() => {
  for (const server of servers.splice(0)) server.close();
});

/** A balancer of connections: each new one goes to the next replica that is in. */
async function balancer(): Promise<{ target: string; replicas: InProcess[] }> {
  const replicas: InProcess[] = [];
  let next = 0;
  const server = createServer((near: Socket) => {
    const replica = replicas[next++ % replicas.length];
    const colon = replica?.target.lastIndexOf(':') ?? 0;
    const far = dial(Number(replica?.target.slice(colon + 1)), '127.0.0.1');
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('error', () => undefined);
      from.on('close', () => to.destroy());
      from.pipe(to);
    }
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return { target: `127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`, replicas };
}

test('replicas are restarted one after another under load: nothing is lost, runs twice or fails', async () => {
  const { target, replicas } = await balancer();
  for (let i = 0; i < 3; i++) replicas.push(await startReplica(redisUrl, SETTINGS));
  const pool = uniquePool();
  const log = new Log();
  const moves = { attached: 0, detached: 0 };
  const workers = Array.from({ length: 6 }, (_, i) =>
    startWorker({ target, pool, id: `w${i}`, slots: 4 }, (worker) =>
      worker
        .on('attached', () => {
          moves.attached++;
        })
        .on('detached', () => {
          moves.detached++;
        })
        .handle('step', async (n: number, { id, attempt }) => {
          log.lines.push(`${id} ${attempt}`);
          // Most are short; some run through a whole restart.
          await new Promise((resolve) => setTimeout(resolve, n % 50 === 0 ? 1_500 : n % 7));
          return n;
        }),
    ),
  );
  await Promise.all(workers);
  const client = newClient({ target });
  let rolling = true;
  let given = 0;
  async function* source() {
    while (rolling) {
      yield given++;
      if (given % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  const roll = async () => {
    for (let n = 0; n < ROLLS; n++) {
      const fresh = await startReplica(redisUrl, SETTINGS);
      const [old] = replicas.splice(0, 1, fresh);
      replicas.push(...replicas.splice(0, 1));
      await old?.stop();
    }
    rolling = false;
  };
  const rolled = roll();
  const seen: number[] = [];
  for await (const end of client.submitMany<number>('step', source(), { pool, window: 100 })) {
    if (!end.ok) throw end.error;
    seen.push(end.output);
  }
  await rolled;
  expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: given }, (_, i) => i));
  const twice = log.lines.length - new Set(log.lines.map((line) => line.split(' ')[0])).size;
  expect({ lost: given - seen.length, twice, retried: log.lines.filter((line) => !line.endsWith(' 1')).length }).toEqual({
    lost: 0,
    twice: 0,
    retried: 0,
  });
  expect(given).toBeGreaterThan(200);
  expect(moves.attached).toBeGreaterThan(6);
  expect(moves.detached).toBe(0);
}, 120_000);
