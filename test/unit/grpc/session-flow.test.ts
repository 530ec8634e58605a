import { setTimeout as delay } from 'node:timers/promises';
import { type ClientDuplexStream, credentials } from '@grpc/grpc-js';
import { afterEach, expect, it } from 'vitest';
import { systemClock, systemIds } from '../../../src/domain/clock.js';
import { MusterError } from '../../../src/domain/errors.js';
import { FairShare } from '../../../src/grpc/fair-share.js';
import { JobServiceClient, JobServiceService, type SessionRequest, type SessionResponse } from '../../../src/grpc/generated/muster/v1/job.js';
import { Pacer } from '../../../src/grpc/pacer.js';
import { createSession } from '../../../src/grpc/session-service.js';
import type { Jobs, Watched } from '../../../src/jobs/jobs.js';
import { jobSpec } from '../../../src/sdk/run.js';
import { until } from '../../helpers/until.js';
import { serve } from './serve.js';

const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});

/** A session over a real server. `jobs`: what stands behind it. */
async function open(jobs: Partial<Jobs>, { window = 1_024, waits = 10_000, payload = 64 } = {}) {
  const share = new FairShare({ clock: systemClock, limits: { waits } });
  const pacer = new Pacer(share);
  const session = createSession({
    ...{
      jobs: jobs as Jobs,
      clock: systemClock,
      ids: systemIds,
      random: () => 0.5,
      turnOverMs: 60_000,
      heartbeatMs: 3_000,
      window,
      replica: 'r',
      pacer,
      maxFrameBytes: 4_194_304,
    },
    limits: {
      ...{ maxPayloadBytes: payload, defaultRunTimeoutMs: 1, defaultMaxAttempts: 1, backoffMs: 1 },
      ...{ maxBackoffMs: 1, retentionMs: 1, maxRetentionMs: 604_800_000 },
    },
    stopping: new AbortController().signal,
    onError: () => undefined,
    onUnknownFrame: () => undefined,
  });
  const { target, server } = await serve((made) => made.addService(pacer.definition(JobServiceService), { session }));
  const client = new JobServiceClient(target, credentials.createInsecure());
  const call: ClientDuplexStream<SessionRequest, SessionResponse> = client.session();
  const answers: SessionResponse['frame'][] = [];
  const ended = { reason: '' };
  call.on('data', ({ frame }: SessionResponse) => answers.push(frame));
  call.on('error', (error: Error) => {
    ended.reason = error.message;
  });
  stops.push(() => {
    client.close();
    server.forceShutdown();
  });
  call.write({ frame: { $case: 'open', value: { awaiting: [], maxFrameBytes: 0, capabilities: [] } } });
  const submit = (...ids: string[]) => {
    const specs = ids.map((id) => jobSpec({ pool: 'p', id, work: { $case: 'kind', value: 'k' } }));
    call.write({ frame: { $case: 'submit', value: { specs } } });
  };
  const ack = (...ids: string[]) => call.write({ frame: { $case: 'ack', value: { jobs: ids.map((id) => ({ pool: 'p', id })) } } });
  const accepted = () => answers.flatMap((frame) => (frame?.$case === 'accepted' ? frame.value.results : []));
  return { share, call, submit, ack, accepted, answers, ended };
}

function watched(dropped: () => void): Watched {
  return { created: true, over: false, ended: () => new Promise(() => undefined), end: () => undefined, drop: dropped };
}

it('a client that submits faster than Redis answers is not read: so much is in work and no more', async () => {
  const waiting: ((one: Watched) => void)[] = [];
  const { submit, accepted } = await open({ submitAndWatch: () => new Promise((resolve) => void waiting.push(resolve)) });
  for (let frame = 0; frame < 15; frame++) submit(...Array.from({ length: 64 }, (_, i) => `${frame}-${i}`));
  await until(() => waiting.length >= 256);
  await delay(50);
  expect(waiting.length).toBeLessThanOrEqual(256 + 63);
  let answered = 0;
  await until(() => {
    for (const resolve of waiting.splice(0)) {
      resolve(watched(() => undefined));
      answered++;
    }
    return answered === 15 * 64;
  });
  await until(() => accepted().length === 15 * 64);
});

it('one id again and again is one job in the window and one wait', async () => {
  const calls = { waits: 0, dropped: 0, submits: 0 };
  const { submit, ack, accepted, share } = await open({
    submitAndWatch: async () => {
      calls.waits++;
      return watched(() => void calls.dropped++);
    },
    submit: async () => {
      calls.submits++;
      return { created: false, state: 'waiting', createdAt: 0 };
    },
  });
  for (let n = 0; n < 100; n++) submit(...Array(64).fill('same'));
  await until(() => accepted().length === 6_400);
  expect(calls).toEqual({ waits: 1, dropped: 0, submits: 6_399 });
  // Acknowledged before its end: nobody waits for it any more.
  ack('same');
  await until(() => calls.dropped === 1);
  expect(share.size).toBe(1);
});

it('a job that is acknowledged before its end is not waited for: the window bounds what is', async () => {
  const waits = new Set<string>();
  const { submit, ack, accepted, ended } = await open(
    {
      submitAndWatch: async ({ id }) => {
        waits.add(id);
        return watched(() => void waits.delete(id));
      },
    },
    { window: 10 },
  );
  for (let n = 0; n < 100; n++) {
    submit(`j${n}`);
    ack(`j${n}`);
  }
  await until(() => accepted().length === 100);
  expect(waits.size).toBeLessThanOrEqual(10);
  submit(...Array.from({ length: 11 }, (_, i) => `k${i}`));
  await until(() => ended.reason !== '');
  expect(ended.reason).toContain('10 jobs are under way');
});

it('refused items count: who does not read the refusals is not read', async () => {
  let looked = 0;
  const { call, submit } = await open({
    submitAndWatch: async () => {
      looked++;
      throw new MusterError('resource_exhausted', 'BACKLOG_FULL', 'x'.repeat(1_000));
    },
  });
  call.pause();
  for (let frame = 0; frame < 400; frame++) submit(...Array.from({ length: 64 }, (_, i) => `${frame}-${i}`));
  await until(() => looked > 0);
  let before = -1;
  await until(async () => {
    const same = looked === before;
    before = looked;
    await delay(50);
    return same;
  });
  expect(looked).toBeLessThan(10_000);
  call.resume();
  await until(() => looked === 400 * 64);
});

it('waits of one caller are bounded, and a refusal says so', async () => {
  const { submit, accepted } = await open({ submitAndWatch: async () => watched(() => undefined) }, { waits: 3 });
  submit('a', 'b', 'c', 'd');
  await until(() => accepted().length === 4);
  const refused = accepted().filter(({ reason }) => reason === 'QUOTA_WAITS');
  expect(refused).toEqual([expect.objectContaining({ id: 'd', code: 8, message: expect.stringContaining('3 jobs') })]);
});

it('outcomes that the client does not read wait in Redis', async () => {
  const output = Buffer.alloc(256 * 1_024);
  let reads = 0;
  const record = (id: string) => ({
    spec: { ...jobSpec({}), pool: 'p', id, kind: 'k', method: '', notBefore: 0, queueTimeoutMs: 0, runTimeoutMs: 1, totalTimeoutMs: 0 },
    ...{ state: 'succeeded', attempt: 1, handovers: 0, worker: 'w', output, createdAt: 1, startedAt: 1, finishedAt: 1, nextAt: 0 },
    ...{ waitingReason: '', progress: Buffer.alloc(0) },
  });
  const withRetry = (id: string) => {
    const made = record(id);
    const retry = { maxAttempts: 1, initialBackoffMs: 1, maxBackoffMs: 1, multiplier: 2, fatalCodes: [] };
    return { ...made, spec: { ...made.spec, retry, retentionMs: 1, maxRetentionMs: 604_800_000 } } as never;
  };
  const { call, submit, answers } = await open({
    submitAndWatch: async ({ id }) => ({ ...watched(() => undefined), ended: async () => withRetry(id) }),
    get: async (_, id) => {
      reads++;
      return withRetry(id);
    },
  });
  call.pause();
  for (let n = 0; n < 200; n++) submit(`j${n}`);
  await delay(50);
  call.resume();
  const outcomes = () => answers.flatMap((frame) => (frame?.$case === 'outcomes' ? frame.value.jobs.map(({ spec }) => spec?.id) : []));
  await until(() => outcomes().length === 200, { timeoutMs: 10_000 });
  expect(new Set(outcomes()).size).toBe(200);
  expect(reads).toBeGreaterThan(50);
});
