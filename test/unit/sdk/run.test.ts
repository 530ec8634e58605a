import { status } from '@grpc/grpc-js';
import { afterEach, expect, test } from 'vitest';
import { type JobSpec, JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import { ApiError } from '../../../src/sdk/api-error.js';
import { type Api, connect } from '../../../src/sdk/connect.js';
import { fromDuration } from '../../../src/sdk/duration.js';
import { Client } from '../../../src/sdk/index.js';
import { runToEnd, waitToEnd } from '../../../src/sdk/run.js';
import { until } from '../../helpers/until.js';
import { type Answers, answer, job, Refused, startReplica } from './replica.js';

const open: { close(): void }[] = [];

async function served(answers: Answers): Promise<Api> {
  const replica = await startReplica(answers);
  const api = connect(replica.target);
  open.push(api, { close: () => replica.kill() });
  return api;
}

afterEach(() => {
  for (const part of open.splice(0)) part.close();
});

const { JOB_STATE_SUCCEEDED: succeeded, JOB_STATE_RUNNING: running, JOB_STATE_WAITING: waiting, JOB_STATE_FAILED: failed } = JobState;
const spec = { pool: 'p', work: { $case: 'kind', value: 'echo' } } as const;

test('the job gets an id before the first call and keeps it when the call breaks', async () => {
  const specs: (JobSpec | undefined)[] = [];
  const broken = [status.UNAVAILABLE, status.ABORTED, status.CANCELLED];
  const told: number[] = [];
  const api = await served({
    runJob: answer(({ spec: given }) => {
      specs.push(given);
      const code = broken[specs.length - 1];
      if (code !== undefined) throw new Refused(code, '', 'try again');
      return { job: job({ spec: given, state: succeeded }) };
    }),
  });
  const done = await runToEnd(api, spec, { onRetry: ({ code }) => told.push(code) });
  expect(done.state).toBe(succeeded);
  expect(specs).toHaveLength(4);
  expect(new Set(specs.map((given) => given?.id)).size).toBe(1);
  expect(specs[0]?.id).toMatch(/^[0-9a-f-]{36}$/);
  expect(told).toEqual(broken);
});

test('a replica that is not there yet is waited for', async () => {
  const first = await startReplica({});
  first.kill();
  const api = connect(first.target);
  open.push(api);
  let again: Awaited<ReturnType<typeof startReplica>> | undefined;
  const done = runToEnd(api, spec, {
    onRetry: () => {
      if (again !== undefined) return;
      void startReplica({ runJob: answer((request) => ({ job: job({ spec: request.spec, state: succeeded }) })) }, first.port).then((replica) => {
        again = replica;
        open.push({ close: () => replica.kill() });
      });
    },
  });
  expect((await done).state).toBe(succeeded);
});

test('a job that has not ended is waited for under its id, and its progress is told', async () => {
  const asked: string[] = [];
  const states = [waiting, running, failed];
  const api = await served({
    runJob: answer(({ spec: given }) => ({ job: job({ spec: given, state: waiting }) })),
    waitJob: answer(({ pool, id }) => {
      asked.push(`${pool}/${id}`);
      return { job: job({ spec: { pool, id }, state: states.shift() ?? failed }) };
    }),
  });
  const told: JobState[] = [];
  const done = await runToEnd(api, { ...spec, id: 'mine' }, { onProgress: ({ state }) => told.push(state) });
  expect(done.state).toBe(failed);
  expect(asked).toEqual(['p/mine', 'p/mine', 'p/mine']);
  expect(told).toEqual([waiting, waiting, running]);
});

test('when the time is over the job is answered as it is, though no replica answers any more', async () => {
  const waits: (number | undefined)[] = [];
  const api = await served({
    runJob: answer(({ spec: given, wait }) => {
      waits.push(fromDuration(wait));
      return { job: job({ spec: given, state: running }) };
    }),
    waitJob: answer(() => {
      throw new Refused(status.UNAVAILABLE, 'REDIS_AWAY', 'Redis does not answer');
    }),
  });
  const done = await runToEnd(api, spec, { deadlineMs: 150, chunkMs: 100 });
  expect(done.state).toBe(running);
  expect(waits).toEqual([100]);
});

test('it gives up when no replica answers, with what the last call broke with', async () => {
  const api = await served({
    runJob: answer(() => {
      throw new Refused(status.UNAVAILABLE, 'REDIS_AWAY', 'Redis does not answer');
    }),
  });
  await expect(runToEnd(api, spec, { giveUpMs: 100 })).rejects.toMatchObject({ code: status.UNAVAILABLE, reason: 'REDIS_AWAY' });
});

test('a replica that hangs is left by calls and waits, and counts as silent from when it was asked', async () => {
  const asked: string[] = [];
  const hung = await startReplica({ getJob: () => void asked.push('get'), waitJob: () => void asked.push('wait') });
  const client = new Client({ target: hung.target, giveUpMs: 150 });
  open.push({ close: () => hung.kill() }, { close: () => void client.close() });
  const at = performance.now();
  await expect(client.get('j', 'p')).rejects.toMatchObject({ code: status.DEADLINE_EXCEEDED });
  expect(performance.now() - at).toBeLessThan(2_000);
  const api = connect(hung.target);
  open.push(api);
  await expect(waitToEnd(api, 'p', 'j', { chunkMs: 20_000, giveUpMs: 100 })).rejects.toMatchObject({ code: status.DEADLINE_EXCEEDED });
  expect(performance.now() - at).toBeLessThan(6_000);
  expect(asked).toEqual(['get', 'wait']);
});

test('a refusal is not repeated', async () => {
  let calls = 0;
  const api = await served({
    runJob: answer(() => {
      calls += 1;
      throw new Refused(status.INVALID_ARGUMENT, 'INVALID_FIELD', 'spec.kind: must be set');
    }),
  });
  await expect(runToEnd(api, spec)).rejects.toBeInstanceOf(ApiError);
  expect(calls).toBe(1);
});

test('the signal breaks the waiting off', async () => {
  let called = 0;
  const api = await served({ waitJob: () => void called++ });
  const controller = new AbortController();
  const waited = waitToEnd(api, 'p', 'j', { signal: controller.signal });
  const seen = expect(waited).rejects.toMatchObject({ code: status.CANCELLED });
  await until(() => called === 1);
  controller.abort();
  await seen;
  expect(called).toBe(1);
});
