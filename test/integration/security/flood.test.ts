import { connect as http2Connect } from 'node:http2';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Client, Worker } from '../../../src/sdk/index.js';
import { ownRedis } from '../../helpers/redis.js';
import { bearer, startSecured, token } from '../../helpers/secured.js';

const CONNECTIONS = 2_000;
const AT_ONCE = 50;
/** The knocking is the load here. */
const BETWEEN_JOBS_MS = 10;

/** One connection with one call. Its grpc-status, however it came. */
function knock(target: string, path: string, authorization: string | undefined): Promise<string> {
  return new Promise((resolve, reject) => {
    const session = http2Connect(`http://${target}`);
    session.on('error', reject);
    const credentials = authorization === undefined ? {} : { authorization };
    const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers', ...credentials });
    let status = '';
    stream.on('response', (headers) => {
      status = String(headers['grpc-status'] ?? '');
    });
    stream.on('error', reject);
    stream.on('close', () => {
      session.close();
      resolve(status);
    });
    stream.resume();
    // A message that is announced and never comes: nobody waits for it.
    stream.write(Buffer.from([0, 0, 0, 0, 9]));
    stream.end();
  });
}

test('2,000 connections with bad or no credentials are refused and counted while jobs go on', async () => {
  const redis = await ownRedis();
  const client = token('client', 'c');
  const worker = token('worker', 'w');
  const replica = await startSecured(redis.url, {
    tokens: [client.line, worker.line],
    // Handshakes are not what is tested here, and would be most of the work.
    settings: { TLS_CERT: '', TLS_KEY: '', TLS_TERMINATED: true },
  });
  const { target } = replica;
  const runner = new Worker({ target, channel: bearer(worker.secret), pool: 'p', id: 'w', slots: 8 }).handle('echo', async (x) => x);
  await runner.start({ signals: false });
  const jobs = new Client({ target, channel: bearer(client.secret) });
  let flooding = true;
  let done = 0;
  const working = (async () => {
    while (flooding) {
      expect(await jobs.run('echo', done, { pool: 'p' })).toBe(done);
      done++;
      await pause(BETWEEN_JOBS_MS);
    }
  })();

  const paths = [
    '/muster.v1.JobService/SubmitJob',
    '/muster.v1.WorkerService/Attach',
    '/muster.v1.JobService/Session',
    '/muster.v1.AdminService/WatchEvents',
  ];
  const credentials = [undefined, `Bearer ${token('admin', 'x').secret}`, 'Basic dXNlcjpwYXNz', `Bearer ${'y'.repeat(4_000)}`];
  const statuses = new Map<string, number>();
  let next = 0;
  const knocking = async () => {
    for (let i = next++; i < CONNECTIONS; i = next++) {
      const status = await knock(target, paths[i % paths.length] ?? '', credentials[Math.floor(i / paths.length) % credentials.length]);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, knocking));
  const during = done;
  flooding = false;
  await working;

  expect(statuses).toEqual(new Map([['16', CONNECTIONS]]));
  const told = (msg: string) => replica.lines.filter((line) => line.includes(`"${msg}"`));
  expect(told('a call was refused').length).toBe(CONNECTIONS);
  // At warn a line a reason and some seconds, not one a call.
  expect(told('calls are refused').length).toBeLessThan(40);
  expect(during).toBeGreaterThan(20);
  await Promise.all([runner.stop({ graceMs: 0 }), jobs.close()]);
});
