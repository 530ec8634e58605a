import { Client as GrpcClient, Metadata, type ServiceError } from '@grpc/grpc-js';
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import { ApiError } from '../../../src/sdk/api-error.js';
import { Client, Worker } from '../../../src/sdk/index.js';
import { jobSpec } from '../../../src/sdk/run.js';
import { keys } from '../../../src/store/keys.js';
import { ownRedis } from '../../helpers/redis.js';
import { over, startSecured, token } from '../../helpers/secured.js';

const PAYLOAD = 'CANARY-payload-5f1e';
const RESULT = 'CANARY-result-77aa';
const WRONG = 'mst_CANARY-token-93bd-CANARY-token-93bd-CANARY';

/** A refusal with all that came along, as text: status, message, trailers, and their binary ones decoded. */
function saying({ message, metadata }: ServiceError): string {
  const trailers = Object.entries(metadata.getMap()).map(([key, value]) => `${key}=${Buffer.isBuffer(value) ? value.toString('latin1') : value}`);
  return [message, ...trailers].join('\n');
}

test('secrets and payloads are nowhere but where they belong: not in logs, refusals, events, or what is counted', async () => {
  const redis = await ownRedis();
  const raw = new Redis(redis.url);
  const client = token('client', 'c');
  const worker = token('worker', 'w');
  const admin = token('admin', 'a');
  const replica = await startSecured(redis.url, {
    tokens: [client.line, worker.line, admin.line],
    settings: { HTTP_ADDR: '127.0.0.1:0', MAX_PAYLOAD_BYTES: 1_000, MAX_RESULT_BYTES: 1_000 },
  });
  const said: string[] = [];
  const noted = async (call: Promise<unknown>) => {
    try {
      await call;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      said.push(error.message, error.reason, JSON.stringify(error.details), saying(error.cause as ServiceError));
    }
  };
  const creds = over(replica.ca, { secret: client.secret });
  const api = replica.api(creds);
  const runner = new Worker({ target: replica.target, credentials: over(replica.ca, { secret: worker.secret }), pool: 'p', id: 'w', slots: 4 });
  runner.handleOther((input, { kind }) => {
    if (kind === 'fails') throw new Error('no');
    if (kind === 'large') return Buffer.from(RESULT.repeat(100));
    return Buffer.concat([input, Buffer.from(RESULT)]);
  });
  runner.on('failed', () => undefined).on('error', () => undefined);
  await runner.start({ signals: false });

  // What goes well.
  const payload = Buffer.from(PAYLOAD);
  const spec = (id: string, kind: string, more: object = {}) => jobSpec({ pool: 'p', id, work: { $case: 'kind', value: kind }, payload, ...more });
  const run = (one: ReturnType<typeof spec>) => api.runJob({ spec: one, wait: undefined, cancelOnDisconnect: false });
  const { job } = await run(spec('good', 'echo'));
  expect(job?.outcome).toEqual({ $case: 'output', value: Buffer.from(PAYLOAD + RESULT) });
  const session = new Client({ target: replica.target, credentials: creds });
  expect(await session.run('echo', payload, { pool: 'p', codec: 'bytes' })).toEqual(Buffer.from(PAYLOAD + RESULT));
  await api.batchSubmitJobs({ specs: [spec('batch', 'echo')] });

  // What does not: jobs that fail, calls that are refused by what they say, and one that fails inside.
  await run(spec('fails', 'fails', { retry: { maxAttempts: 1 } }));
  await run(spec('large', 'large', { retry: { maxAttempts: 1 } }));
  await noted(api.submitJob({ spec: spec('good', 'other') }));
  await noted(api.submitJob({ spec: spec('much', 'echo', { payload: Buffer.from(PAYLOAD.repeat(100)) }) }));
  await noted(api.submitJob({ spec: spec('priority', 'echo', { priority: 9 }) }));
  await noted(api.listPools({}));
  await raw.set(keys.job('p', 'broken'), 'no hash');
  await noted(api.submitJob({ spec: spec('broken', 'echo') }));
  expect(said.join('\n')).toContain('INTERNAL');

  // Credentials that do not count.
  const grpc = new GrpcClient(replica.target, over(replica.ca));
  const same = (bytes: Buffer) => bytes;
  for (const value of [`Bearer ${WRONG}`, WRONG, `Basic ${WRONG}`, `Bearer ${WRONG} ${WRONG}`]) {
    for (const path of ['/muster.v1.JobService/SubmitJob', '/muster.v1.WorkerService/Attach', '/muster.v1.AdminService/Nothing']) {
      const metadata = new Metadata();
      metadata.set('authorization', value);
      const error = await new Promise<ServiceError>((resolve, reject) => {
        grpc.makeUnaryRequest(path, same, same, payload, metadata, (failed) => (failed ? resolve(failed) : reject(new Error('it was answered'))));
      });
      said.push(saying(error));
    }
  }
  replica.files.tokens.write(`${client.line}\nadmin evil ${WRONG}\n`);
  await expect.poll(() => replica.lines.some((line) => line.includes('the tokens stay as they were'))).toBe(true);
  await Promise.all([runner.stop({ graceMs: 0 }), session.close()]);
  grpc.close();

  const events = await raw.xrange(keys.events('p'), '-', '+');
  const metrics = await fetch(`http://127.0.0.1:${replica.httpPort}/metrics`).then((response) => response.text());
  await replica.stop();
  const everything = [...replica.lines, ...said, JSON.stringify(events), metrics].join('\n');
  const hashes = [client, worker, admin].map(({ line }) => line.split(' ')[2]?.slice('sha256:'.length) ?? '');
  expect(replica.lines.length).toBeGreaterThan(5);
  for (const secret of ['CANARY', client.secret, worker.secret, admin.secret, ...hashes]) {
    expect(
      everything.split('\n').filter((line) => line.includes(secret) || line.includes(Buffer.from(secret).toString('base64').slice(0, -4))),
    ).toEqual([]);
  }
  // The search finds what is there: payloads are in Redis, where they belong.
  expect(await raw.get(keys.payload('p', 'fails'))).toContain('CANARY');
  raw.disconnect();
});
