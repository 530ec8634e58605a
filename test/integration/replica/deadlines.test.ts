import { credentials } from '@grpc/grpc-js';
import { beforeAll, expect, test } from 'vitest';
import { JobServiceClient } from '../../../src/grpc/generated/muster/v1/job.js';
import { jobSpec } from '../../../src/sdk/run.js';
import { ownRedis } from '../../helpers/redis.js';
import { type Running, startReplica } from './support.js';

const DAY_MS = 86_400_000;
let replica: Running;

beforeAll(async () => {
  replica = await startReplica((await ownRedis()).url);
});

test.each([24, 25, 30, 40, 50, 60, 366, 20_000])('a call with a deadline of %i days waits, and is not past it', async (days) => {
  const client = new JobServiceClient(replica.target, credentials.createInsecure());
  const spec = jobSpec({ pool: 'long', id: `d${days}`, work: { $case: 'kind', value: 'echo' } });
  const request = { spec, wait: { seconds: '0', nanos: 50_000_000 }, cancelOnDisconnect: true };
  const answer = await new Promise((resolve) => {
    client.runJob(request, { deadline: Date.now() + days * DAY_MS } as never, (error: Error | null, response?: unknown) =>
      resolve(error ?? response),
    );
  });
  client.close();
  expect(answer).toMatchObject({ job: { spec: { id: `d${days}` }, state: 2 } });
});

test.each([25, 50, 366])('timeouts of %i days are kept as they are, and none has passed', async (days) => {
  const long = { seconds: String(days * 86_400), nanos: 0 };
  const spec = jobSpec({
    pool: 'long',
    id: `t${days}`,
    work: { $case: 'kind', value: 'echo' },
    queueTimeout: long,
    runTimeout: long,
    totalTimeout: long,
  });
  const { job } = await replica.api.runJob({ spec, wait: { seconds: '0', nanos: 200_000_000 }, cancelOnDisconnect: false });
  expect(job).toMatchObject({ state: 2, spec: { queueTimeout: long, runTimeout: long, totalTimeout: long } });
});
