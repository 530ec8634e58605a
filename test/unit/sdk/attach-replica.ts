import type { ServerDuplexStream } from '@grpc/grpc-js';
import { status } from '@grpc/grpc-js';
import { Assignment, type Held } from '../../../src/grpc/generated/muster/v1/common.js';
import { type AttachRequest, type AttachResponse, Verdict, Welcome } from '../../../src/grpc/generated/muster/v1/worker.js';
import { toDuration } from '../../../src/sdk/duration.js';
import { until } from '../../helpers/until.js';
import { answer, type Replica, startReplica } from './replica.js';

type Up = NonNullable<AttachRequest['frame']>;
type Down = NonNullable<AttachResponse['frame']>;
type Value<Frame, Case> = Extract<Frame, { $case: Case }> extends { value: infer V } ? V : never;

/** One Attach stream as the replica sees it. */
export class Stream {
  readonly frames: Up[] = [];
  over = false;
  /** Each result is settled as it comes. */
  #settling = false;

  constructor(readonly call: ServerDuplexStream<AttachRequest, AttachResponse>) {
    call.on('data', ({ frame }: AttachRequest) => {
      if (frame !== undefined) this.frames.push(frame);
      if (this.#settling && frame?.$case === 'results') for (const { jobId, fence } of frame.value.results) this.settle(jobId, fence);
    });
    for (const event of ['end', 'cancelled', 'error'])
      call.on(event, () => {
        this.over = true;
      });
  }

  say<Case extends Down['$case']>($case: Case, value: Value<Down, Case>): void {
    this.call.write({ frame: { $case, value } as Down });
  }

  welcome(terms: Partial<Welcome> = {}): void {
    this.say(
      'welcome',
      Welcome.fromPartial({ replica: 'fake', beatInterval: toDuration(60_000), maxUnsettled: 64, maxFrameBytes: 1_000_000, ...terms }),
    );
  }

  assign(jobId: string, fence: string, rest: Partial<Assignment> = {}): void {
    this.say('assign', { assignments: [Assignment.fromPartial({ jobId, fence, kind: 'work', attempt: 1, ...rest })] });
  }

  settle(jobId: string, fence: string, verdict: Verdict = Verdict.VERDICT_ACCEPTED): void {
    this.say('settled', { settlements: [{ jobId, fence, verdict }] });
  }

  /** What came, and whatever comes from now on. */
  settleAll(): void {
    this.#settling = true;
    for (const { results } of this.all('results')) for (const { jobId, fence } of results) this.settle(jobId, fence);
  }

  end(code?: number): void {
    if (code === undefined) this.call.end();
    else this.call.emit('error', { code, details: status[code] });
  }

  all<Case extends Up['$case']>($case: Case): Value<Up, Case>[] {
    return this.frames.filter((frame) => frame.$case === $case).map((frame) => frame.value as Value<Up, Case>);
  }

  /** The n-th frame of that kind, from 0. */
  next<Case extends Up['$case']>($case: Case, n = 0): Promise<Value<Up, Case>> {
    return until(() => this.all($case)[n], { what: `frame ${n} of ${$case}` });
  }

  /** Of every Results frame, `job/fence`. */
  results(): string[] {
    return this.all('results').flatMap(({ results }) => results.map(({ jobId, fence }) => `${jobId}/${fence}`));
  }

  /** Of every Received frame. */
  received(): string[] {
    return this.all('received').flatMap(({ held }) => names(held));
  }
}

/** `job/fence`, and `!` when done. */
export function names(held: Held[]): string[] {
  return held.map(({ jobId, fence, done }) => `${jobId}/${fence}${done ? '!' : ''}`);
}

/** A server that speaks Attach, frame by frame, as a test tells it. */
export interface AttachReplica extends Replica {
  streams: Stream[];
  /** The n-th stream that was opened, with its Hello; from 0. */
  stream(n?: number): Promise<Stream>;
  deregistered: string[];
}

export async function startAttachReplica(port = 0): Promise<AttachReplica> {
  const streams: Stream[] = [];
  const deregistered: string[] = [];
  const replica = await startReplica(
    {
      attach: (call) => void streams.push(new Stream(call)),
      deregister: answer(({ id }) => {
        deregistered.push(id);
        return { held: 0 };
      }),
    },
    port,
  );
  const stream = async (n = 0) => {
    const found = await until(() => streams[n], { what: `stream ${n}` });
    await found.next('hello');
    return found;
  };
  return { ...replica, streams, stream, deregistered };
}
