import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MAX_DESCRIPTORS_BYTES } from '../../../src/domain/descriptors.js';
import { ApiError } from '../../../src/sdk/api-error.js';
import { type Api, connect } from '../../../src/sdk/connect.js';
import { jobSpec } from '../../../src/sdk/run.js';
import { emptyFiles, setOf } from '../../helpers/descriptors.js';
import { ownRedis, uniquePool } from '../../helpers/redis.js';
import { muster } from '../../unit/cli/harness.js';
import { startReplica } from './replica.js';

const set = setOf('job/job.proto');
let api: Api;
let replica: Awaited<ReturnType<typeof startReplica>>;
let folder: string;

beforeAll(async () => {
  // Small limits of payloads must not keep descriptors out.
  const limits = { MUSTER_MAX_PAYLOAD_BYTES: '1024', MUSTER_MAX_RESULT_BYTES: '1024' };
  replica = await startReplica((await ownRedis()).url, limits);
  api = connect(replica.target);
  folder = await mkdtemp(join(tmpdir(), 'muster-descriptors-'));
});
afterAll(async () => {
  api.close();
  await replica.stop();
  await rm(folder, { recursive: true });
});

const typed = () => ({ env: { MUSTER_TARGET: replica.target } });

/** A pool with a job, which nothing but its first job or worker makes. */
async function newPool(): Promise<string> {
  const pool = uniquePool();
  await api.submitJob({
    spec: jobSpec({ pool, work: { $case: 'method', value: '/job.JobService/RunJob' }, notBefore: new Date(Date.now() + 3_600_000) }),
  });
  return pool;
}

async function refusal(call: Promise<unknown>): Promise<ApiError> {
  const error: unknown = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof ApiError) return error;
  throw new Error(`not refused: ${String(error)}`);
}

describe("a pool's descriptors", () => {
  it('come back as they were put, the last ones', async () => {
    const pool = await newPool();
    await api.putPoolDescriptors({ pool, fileDescriptorSet: emptyFiles({ 'a.proto': [] }) });
    await api.putPoolDescriptors({ pool, fileDescriptorSet: set });
    await api.putPoolDescriptors({ pool, fileDescriptorSet: set });
    expect((await api.getPoolDescriptors({ pool })).fileDescriptorSet.equals(set)).toBe(true);
    expect((await api.listPools({})).pools.map(({ name }) => name)).toContain(pool);
  });

  it('may be as large as the limit, and no larger', async () => {
    const pool = await newPool();
    // One file of that size: its name is what is long.
    const sized = (bytes: number) => emptyFiles({ ['n'.repeat(bytes - 8)]: [] });
    const largest = sized(MAX_DESCRIPTORS_BYTES);
    expect(largest.length).toBe(MAX_DESCRIPTORS_BYTES);
    await api.putPoolDescriptors({ pool, fileDescriptorSet: largest });
    expect((await api.getPoolDescriptors({ pool })).fileDescriptorSet.length).toBe(MAX_DESCRIPTORS_BYTES);
    const error = await refusal(api.putPoolDescriptors({ pool, fileDescriptorSet: sized(MAX_DESCRIPTORS_BYTES + 1) }));
    expect([error.code, error.details.fields[0]?.field]).toEqual([status.INVALID_ARGUMENT, 'file_descriptor_set']);
  });

  it.each([
    ['nothing', Buffer.alloc(0), 'must be set'],
    ['what is none', Buffer.from('hello'), 'cannot be parsed'],
    ['a file without its imports', setOf('muster/v1/worker.proto'), 'lacks "google/protobuf/duration.proto"'],
  ])('are refused when they are %s, and what was there stays', async (_, bad, said) => {
    const pool = await newPool();
    await api.putPoolDescriptors({ pool, fileDescriptorSet: set });
    const error = await refusal(api.putPoolDescriptors({ pool, fileDescriptorSet: bad }));
    expect(error.code).toBe(status.INVALID_ARGUMENT);
    expect(error.details.fields).toEqual([{ field: 'file_descriptor_set', description: expect.stringContaining(said) }]);
    expect((await api.getPoolDescriptors({ pool })).fileDescriptorSet.equals(set)).toBe(true);
  });

  it('are not found where nobody put any, and the pool must be one', async () => {
    const none = await refusal(api.getPoolDescriptors({ pool: await newPool() }));
    expect([none.code, none.reason]).toEqual([status.NOT_FOUND, 'NO_DESCRIPTORS']);
    for (const call of [api.getPoolDescriptors({ pool: 'A{}' }), api.putPoolDescriptors({ pool: 'A{}', fileDescriptorSet: set })]) {
      expect((await refusal(call)).details.fields[0]?.field).toBe('pool');
    }
  });
});

describe('the command line', () => {
  it('lists the methods of a pool, and shows one with its empty request', async () => {
    const pool = await newPool();
    await api.putPoolDescriptors({ pool, fileDescriptorSet: set });
    const listed = await muster(['get', 'methods', '--pool', pool], typed());
    expect([listed.code, listed.text]).toEqual([
      0,
      expect.stringMatching(/^METHOD +REQUEST +RESPONSE\n.*\n\/job.JobService\/RunJob +job.JobRequest +job.JobResponse\n$/),
    ]);
    expect((await muster(['get', 'methods', '--pool', pool, '-o', 'json'], typed())).json()).toEqual({
      methods: [
        { path: '/job.JobService/Ping', request: 'job.PingRequest', response: 'job.PingResponse' },
        { path: '/job.JobService/RunJob', request: 'job.JobRequest', response: 'job.JobResponse' },
      ],
    });
    const one = await muster(['get', 'methods', '--pool', pool, '/job.JobService/RunJob'], typed());
    expect(one.text).toContain('{"jobId":"","repoUrl":""');
    const none = await muster(['get', 'methods', '--pool', pool, '/job.JobService/RunJop'], typed());
    expect([none.code, none.story]).toEqual([4, expect.stringContaining('did you mean /job.JobService/RunJob?')]);
  });

  it('says what to do where a pool knows no methods', async () => {
    for (const args of [
      ['get', 'methods'],
      ['run', '--method', '/a.B/C', '--json', '{}'],
      ['wait', '--decode', 'j1'],
    ]) {
      const ran = await muster([...args, '--pool', await newPool()], typed());
      expect([ran.code, ran.story]).toEqual([4, expect.stringContaining('--descriptors')]);
    }
  });

  it('takes descriptors from a file, and says what is wrong with it or with the JSON', async () => {
    const good = join(folder, 'good.binpb');
    const bad = join(folder, 'bad.binpb');
    await writeFile(good, set);
    await writeFile(bad, setOf('muster/v1/worker.proto'));
    const method = ['--method', '/job.JobService/RunJob'];
    const submitted = await muster(['submit', ...method, '--json', '-', '--descriptors', good, '-o', 'json', '--pool', await newPool()], {
      ...typed(),
      stdin: '{"jobId": "j"}',
    });
    expect(submitted.json()).toMatchObject({
      created: true,
      job: { method: '/job.JobService/RunJob', payload: Buffer.from([0x0a, 1, 0x6a]).toString('base64') },
    });
    for (const [args, code, said] of [
      [[...method, '--json', '{}', '--descriptors', bad], 2, `--descriptors ${bad}: lacks "google/protobuf/duration.proto"`],
      [[...method, '--json', '{}', '--descriptors', join(folder, 'none')], 2, 'no such file'],
      [[...method, '--json', '{', '--descriptors', good], 2, '--json: is no JSON'],
      [[...method, '--json', '{"jobId": 1}', '--descriptors', good], 2, '--json: is no job.JobRequest: cannot decode field job.JobRequest.jobId'],
      [
        ['--method', '/job.JobService/Run', '--json', '{}', '--descriptors', good],
        2,
        '--method: /job.JobService/Run is none of /job.JobService/Ping',
      ],
      [['--kind', 'echo', '--json', '{}'], 2, '--json is the request of a method'],
      [[...method, '--json', '{}', '--data', 'x'], 2, 'only one of --json, --data'],
      [[...method, '--data', 'x', '--descriptors', good], 2, '--descriptors goes with --json'],
    ] as const) {
      const ran = await muster(['run', ...args], typed());
      expect([ran.code, ran.story]).toEqual([code, expect.stringContaining(said)]);
    }
  });
});
