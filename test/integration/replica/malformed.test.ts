import { beforeAll, describe, expect, test } from 'vitest';
import type { WorkerState } from '../../../src/grpc/generated/muster/v1/admin.js';
import { Contract } from '../../../src/grpc/generated/muster/v1/common.js';
import type { DeepPartial, JobSpec, JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import { WorkerInfo } from '../../../src/grpc/generated/muster/v1/worker.js';
import type { Api } from '../../../src/sdk/connect.js';
import { jobSpec } from '../../../src/sdk/run.js';
import { ownRedis } from '../../helpers/redis.js';
import { type Running, refusal, startReplica, words } from './support.js';
import { legacyWorker, methodWorker, register, runnerWorker } from './workers.js';

let replica: Running;
let api: Api;
/** A pool that holds one RUNNER worker, and what it registered as. */
let runnerInfo: WorkerInfo;

beforeAll(async () => {
  const redis = await ownRedis();
  replica = await startReplica(redis.url, { MAX_PAYLOAD_BYTES: 1000, MAX_RESULT_BYTES: 1000 });
  api = replica.api;
  const worker = await runnerWorker(replica.target, 'runners', 'w1');
  const port = Number(worker.address.split(':')[1]);
  runnerInfo = WorkerInfo.fromPartial({ id: 'w1', pool: 'runners', ip: '127.0.0.1', port, boot: worker.boot, contract: Contract.CONTRACT_RUNNER });
  const legacy = await legacyWorker('old1');
  await register(api, { id: 'old1', pool: 'legacies', port: legacy.port, contract: Contract.CONTRACT_LEGACY });
  const method = await methodWorker();
  await register(api, { id: 'm1', pool: 'methods', port: method.port, contract: Contract.CONTRACT_METHOD });
});

const submitting = (spec: DeepPartial<JobSpec>) =>
  api.submitJob({ spec: jobSpec({ pool: 'nobody', work: { $case: 'kind', value: 'echo' }, ...spec }) });
const registering = (info: Partial<WorkerInfo>) => api.register(WorkerInfo.fromPartial({ ...runnerInfo, id: 'new', boot: 'new', ...info }));
const seconds = (value: string) => ({ seconds: value, nanos: 0 });

interface Row {
  what: string;
  call: () => Promise<unknown>;
  field: string;
}

const malformedJobs: Row[] = [
  { what: 'no spec at all', field: 'spec', call: () => api.submitJob({ spec: undefined }) },
  { what: 'a pool in capitals', field: 'spec.pool', call: () => submitting({ pool: 'Builds' }) },
  { what: 'a pool with a brace', field: 'spec.pool', call: () => submitting({ pool: 'a}b' }) },
  { what: 'a pool of 64', field: 'spec.pool', call: () => submitting({ pool: 'p'.repeat(64) }) },
  { what: 'an id with a space', field: 'spec.id', call: () => submitting({ id: 'a b' }) },
  { what: 'an id of 129', field: 'spec.id', call: () => submitting({ id: 'x'.repeat(129) }) },
  { what: 'neither kind nor method', field: 'spec.kind', call: () => api.submitJob({ spec: jobSpec({ id: 'j' }) }) },
  { what: 'a method without a service', field: 'spec.method', call: () => submitting({ work: { $case: 'method', value: 'RunJob' } }) },
  {
    what: "a method of Muster's own",
    field: 'spec.method',
    call: () => submitting({ work: { $case: 'method', value: '/muster.v1.AdminService/PausePool' } }),
  },
  { what: 'a payload of one byte too much', field: 'spec.payload', call: () => submitting({ payload: Buffer.alloc(1001) }) },
  { what: 'a negative queue timeout', field: 'spec.queue_timeout', call: () => submitting({ queueTimeout: seconds('-1') }) },
  { what: 'a run timeout of zero', field: 'spec.run_timeout', call: () => submitting({ runTimeout: seconds('0') }) },
  {
    what: 'a negative fraction of a total timeout',
    field: 'spec.total_timeout',
    call: () => submitting({ totalTimeout: { seconds: '0', nanos: -5 } }),
  },
  { what: 'a retention of a thousand years', field: 'spec.retention', call: () => submitting({ retention: seconds('31536000000') }) },
  { what: 'priority 4', field: 'spec.priority', call: () => submitting({ priority: 4 }) },
  { what: '101 attempts', field: 'spec.retry.max_attempts', call: () => submitting({ retry: { maxAttempts: 101 } }) },
  { what: 'a negative backoff', field: 'spec.retry.initial_backoff', call: () => submitting({ retry: { initialBackoff: seconds('-3') } }) },
  { what: 'a multiplier below 1', field: 'spec.retry.multiplier', call: () => submitting({ retry: { multiplier: 0.5 } }) },
  { what: 'a fatal code that is none', field: 'spec.retry.fatal_codes[0]', call: () => submitting({ retry: { fatalCodes: [17] } }) },
  { what: 'metadata with a key in capitals', field: 'spec.metadata["Key"]', call: () => submitting({ metadata: { Key: 'v' } }) },
  { what: 'an unknown job state', field: 'state', call: () => api.listJobs({ pool: 'runners', state: 99 as JobState, pageSize: 0, pageToken: '' }) },
  { what: 'a page of 1001', field: 'page_size', call: () => api.listJobs({ pool: 'runners', state: 0, pageSize: 1001, pageToken: '' }) },
  {
    what: 'a page token of another kind',
    field: 'page_token',
    call: () => api.listJobs({ pool: 'runners', state: 0, pageSize: 0, pageToken: 'next' }),
  },
  { what: 'a negative wait', field: 'wait', call: () => api.waitJob({ pool: 'runners', id: 'j', wait: seconds('-1') }) },
  { what: 'no id to get', field: 'id', call: () => api.getJob({ pool: 'runners', id: '' }) },
];

const malformedWorkers: Row[] = [
  { what: 'no id', field: 'id', call: () => registering({ id: '' }) },
  { what: 'an id with a brace', field: 'id', call: () => registering({ id: 'w{1}' }) },
  { what: 'a pool with a colon', field: 'pool', call: () => registering({ pool: 'a:b' }) },
  { what: 'port 0', field: 'port', call: () => registering({ port: 0 }) },
  { what: 'port 65536', field: 'port', call: () => registering({ port: 65_536 }) },
  { what: 'a negative port', field: 'port', call: () => registering({ port: -1 }) },
  { what: 'a host name', field: 'ip', call: () => registering({ ip: 'localhost' }) },
  { what: 'an address with a zone', field: 'ip', call: () => registering({ ip: 'fe80::1%eth0' }) },
  { what: 'an octal address', field: 'ip', call: () => registering({ ip: '0177.0.0.1' }) },
  { what: '257 slots', field: 'slots', call: () => registering({ slots: 257 }) },
  { what: 'an unknown contract', field: 'contract', call: () => registering({ contract: 99 as Contract }) },
  { what: 'a boot with a space', field: 'boot', call: () => registering({ boot: 'a b' }) },
  { what: 'a kind with a space', field: 'kinds[0]', call: () => registering({ kinds: ['a b'] }) },
  { what: 'a label of 257 bytes', field: 'labels["k"]', call: () => registering({ labels: { k: 'x'.repeat(257) } }) },
  { what: 'a region with a newline', field: 'region', call: () => registering({ region: 'eu\nwest' }) },
  { what: 'an id to ping with a newline', field: 'id', call: () => api.ping({ id: 'a\nb', pool: '', boot: '' }) },
  {
    what: 'a negative drain timeout',
    field: 'drain_timeout',
    call: () => api.deregister({ id: 'w1', pool: 'runners', boot: '', drainTimeout: seconds('-1') }),
  },
  {
    what: 'an unknown worker state',
    field: 'state',
    call: () => api.listWorkers({ pool: '', state: 99 as WorkerState, pageSize: 0, pageToken: '' }),
  },
  { what: 'a purge of nothing in particular', field: 'scope', call: () => api.purgePool({ pool: 'runners', scope: 0 }) },
];

describe('what is malformed is INVALID_ARGUMENT and names the field', () => {
  test.each([...malformedJobs, ...malformedWorkers])('$what', async ({ call, field }) => {
    expect(words(await refusal(call()))).toEqual({ code: 'INVALID_ARGUMENT', reason: 'INVALID_FIELD', field, named: true });
  });

  test('nothing of it came into being', async () => {
    const { pools } = await api.listPools({});
    expect(pools.map(({ name }) => name)).toEqual(['legacies', 'methods', 'runners']);
    expect(pools.map(({ workers, waiting, scheduled, running }) => [workers, waiting, scheduled, running])).toEqual(
      Array(3).fill([1, '0', '0', '0']),
    );
  });
});
