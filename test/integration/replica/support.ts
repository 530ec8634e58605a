import { Writable } from 'node:stream';
import { pino } from 'pino';
import { afterAll, expect } from 'vitest';
import { type Config, readConfig } from '../../../src/config.js';
import { systemClock, systemIds, systemRandom } from '../../../src/domain/clock.js';
import type { Worker } from '../../../src/grpc/generated/muster/v1/admin.js';
import { type DeepPartial, type Job, type JobSpec, JobState } from '../../../src/grpc/generated/muster/v1/job.js';
import { Replica } from '../../../src/lifecycle/replica.js';
import { ApiError } from '../../../src/sdk/api-error.js';
import { type Api, type ConnectOptions, connect } from '../../../src/sdk/connect.js';
import { jobSpec } from '../../../src/sdk/run.js';
import { until } from '../../helpers/until.js';

export interface LogLine {
  level: number;
  msg: string;
  err?: unknown;
  method?: string;
}

/** A whole replica in this process, on free ports of the loopback. */
export interface Running {
  id: string;
  api: Api;
  /** `host:port` of gRPC. */
  target: string;
  grpcPort: number;
  httpPort: number;
  config: Config;
  replica: Replica;
  /** What it logged. */
  lines: LogLine[];
  stop(): Promise<void>;
}

const ERROR_LEVEL = 50;
const open: Running[] = [];

/**
 * `settings`: names of the configuration without prefix. All times are a tenth of the real ones, but that a worker gets 0.9 s to answer and
 * a delivery 2.5 s: the tests' machine is a busy one.
 */
export async function startReplica(
  redisUrl: string,
  settings: Partial<Record<keyof Config, unknown>> = {},
  starting: { signal?: AbortSignal; lines?: LogLine[] } = {},
): Promise<Running> {
  const here = { REDIS_URL: redisUrl, GRPC_ADDR: '127.0.0.1:0', HTTP_ADDR: '127.0.0.1:0', INSECURE: true };
  return startWith(readConfig({}, { ...here, TIME_SCALE: 0.1, PING_TIMEOUT_MS: 9_000, DELIVERY_MS: 25_000, ...settings }), {}, starting);
}

/** `options`: how its `api` connects. `starting`: what ends a start, and where its lines go, for those that wait. */
export async function startWith(
  config: Config,
  options: ConnectOptions = {},
  { signal = AbortSignal.timeout(10_000), lines = [] }: { signal?: AbortSignal; lines?: LogLine[] } = {},
): Promise<Running> {
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const line of chunk.toString().split('\n')) if (line !== '') lines.push(JSON.parse(line) as LogLine);
      done();
    },
  });
  const replica = new Replica({
    config,
    version: 'test',
    clock: systemClock,
    ids: systemIds,
    random: systemRandom,
    log: () => pino({ level: config.LOG_LEVEL }, sink),
  });
  const { grpcPort, httpPort } = await replica.start(signal).catch(async (error: unknown) => {
    await replica.stop();
    throw error;
  });
  const target = `127.0.0.1:${grpcPort}`;
  const api = connect(target, options);
  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping ??= replica.stop().then(() => api.close());
    return stopping;
  };
  const running = { id: replica.id, api, target, grpcPort, httpPort, config, replica, lines, stop };
  open.push(running);
  return running;
}

afterAll(async () => {
  const all = open.splice(0);
  await Promise.all(all.map((running) => running.stop()));
  // Whatever was not meant to happen inside a replica is an error of the test, too.
  expect(all.flatMap(({ lines }) => lines.filter(({ level }) => level >= ERROR_LEVEL))).toEqual([]);
});

/** The refusal of a call. Fails when it was answered. */
export async function refusal(call: Promise<unknown>): Promise<ApiError> {
  try {
    const answer = await call;
    throw new Error(`it was answered: ${JSON.stringify(answer)}`);
  } catch (error) {
    if (error instanceof ApiError) return error;
    throw error;
  }
}

export async function submit(api: Api, spec: DeepPartial<JobSpec>): Promise<Job> {
  const { job } = await api.submitJob({ spec: jobSpec(spec) });
  if (!job) throw new Error('no job in the answer');
  return job;
}

export async function getJob(api: Api, pool: string, id: string): Promise<Job> {
  const { job } = await api.getJob({ pool, id });
  if (!job) throw new Error('no job in the answer');
  return job;
}

export async function getWorker(api: Api, pool: string, id: string): Promise<Worker> {
  const { worker } = await api.getWorker({ pool, id });
  if (!worker) throw new Error('no worker in the answer');
  return worker;
}

/** Waits until the job is in that state, and answers with it. */
export function jobIn(api: Api, pool: string, id: string, state: JobState, timeoutMs = 10_000): Promise<Job> {
  const check = async () => {
    const job = await getJob(api, pool, id);
    return job.state === state ? job : undefined;
  };
  return until(check, { timeoutMs, what: `job ${id} to be ${JobState[state]}` });
}

/** The end of a job in one line: what tests compare. */
export function endOf(job: Job | undefined): { state: string; attempt: number; worker: string; output?: string; reason?: string } {
  if (!job) throw new Error('no job in the answer');
  const { state, attempt, worker, outcome } = job;
  const end = { state: JobState[state] ?? String(state), attempt, worker };
  if (outcome?.$case === 'output') return { ...end, output: outcome.value.toString() };
  return outcome?.$case === 'failure' ? { ...end, reason: outcome.value.reason } : end;
}

export const text = (value: string) => Buffer.from(value);

/** What a refusal says, in the order in which a reader would ask. */
export function words({ codeName, reason, details, message }: ApiError) {
  return {
    code: codeName,
    reason,
    field: details.fields[0]?.field ?? details.metadata['field'] ?? '',
    named: details.fields[0] ? message.includes(details.fields[0].field) : true,
  };
}
