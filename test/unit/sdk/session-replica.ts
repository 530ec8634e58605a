import { type ServerDuplexStream, status } from '@grpc/grpc-js';
import { Job, JobState, type SessionRequest, type SessionResponse, type SubmitResult } from '../../../src/grpc/generated/muster/v1/job.js';
import { toDuration } from '../../../src/sdk/duration.js';
import { until } from '../../helpers/until.js';
import { type Replica, startReplica } from './replica.js';

type Up = NonNullable<SessionRequest['frame']>;
type Down = NonNullable<SessionResponse['frame']>;
type Value<Frame, Case> = Extract<Frame, { $case: Case }> extends { value: infer V } ? V : never;

/** One Session stream as the replica sees it. */
export class SessionStream {
  readonly frames: Up[] = [];
  over = false;

  constructor(readonly call: ServerDuplexStream<SessionRequest, SessionResponse>) {
    call.on('data', ({ frame }: SessionRequest) => {
      if (frame !== undefined) this.frames.push(frame);
    });
    for (const event of ['end', 'cancelled', 'error'])
      call.on(event, () => {
        this.over = true;
      });
  }

  say<Case extends Down['$case']>($case: Case, value: Value<Down, Case>): void {
    this.call.write({ frame: { $case, value } as Down });
  }

  /** `heartbeatMs`: the client expects heartbeats that often; default: none. */
  opened(window = 100, limits: { maxPayloadBytes?: number; maxFrameBytes?: number; heartbeatMs?: number } = {}): void {
    const { heartbeatMs, maxPayloadBytes = 0, maxFrameBytes = 0 } = limits;
    const heartbeatInterval = heartbeatMs === undefined ? undefined : toDuration(heartbeatMs);
    this.say('opened', { replica: 'fake', window, maxPayloadBytes, maxFrameBytes, heartbeatInterval });
  }

  accept(id: string, rest: Partial<SubmitResult> = {}): void {
    this.say('accepted', { results: [{ id, created: true, code: 0, message: '', reason: '', ...rest }] });
  }

  ended(pool: string, id: string, output = '1', state = JobState.JOB_STATE_SUCCEEDED): void {
    const outcome = { $case: 'output', value: Buffer.from(output) } as const;
    this.say('outcomes', {
      jobs: [Job.fromPartial({ spec: { pool, id }, state, outcome: state === JobState.JOB_STATE_SUCCEEDED ? outcome : undefined })],
    });
  }

  end(code: number): void {
    this.call.emit('error', { code, details: status[code] });
  }

  all<Case extends Up['$case']>($case: Case): Value<Up, Case>[] {
    return this.frames.filter((frame) => frame.$case === $case).map((frame) => frame.value as Value<Up, Case>);
  }

  submitted(): string[] {
    return this.all('submit').flatMap(({ specs }) => specs.map(({ pool, id }) => `${pool} ${id}`));
  }

  acked(): string[] {
    return this.all('ack').flatMap(({ jobs }) => jobs.map(({ pool, id }) => `${pool} ${id}`));
  }

  /** By AwaitJobs. */
  awaited(): string[] {
    return this.all('awaitJobs').flatMap(({ jobs }) => jobs.map(({ pool, id }) => `${pool} ${id}`));
  }

  awaiting(): string[] {
    return this.all('open').flatMap(({ awaiting }) => awaiting.map(({ pool, id }) => `${pool} ${id}`));
  }
}

export interface SessionReplica extends Replica {
  streams: SessionStream[];
  /** The n-th stream, with its Open; from 0. */
  stream(n?: number): Promise<SessionStream>;
}

/** A server that speaks Session, frame by frame, as a test tells it. */
export async function startSessionReplica(): Promise<SessionReplica> {
  const streams: SessionStream[] = [];
  const replica = await startReplica({ session: (call) => void streams.push(new SessionStream(call)) });
  const stream = async (n = 0) => {
    const found = await until(() => streams[n], { what: `stream ${n}` });
    await until(() => found.all('open').length > 0);
    return found;
  };
  return { ...replica, streams, stream };
}
