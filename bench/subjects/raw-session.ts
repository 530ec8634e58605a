import { randomUUID } from 'node:crypto';
import { type ClientDuplexStream, credentials } from '@grpc/grpc-js';
import {
  type Job,
  JobServiceClient,
  type JobSpec,
  JobState,
  type SessionRequest,
  type SessionResponse,
  type SubmitResult,
} from '../../src/grpc/generated/muster/v1/job.js';
import { jobSpec } from '../../src/sdk/run.js';

interface Waiting {
  resolve: () => void;
  reject: (error: Error) => void;
}

const MAX_LIST = 64;

/** One Session stream without reconnection: what is submitted, or acknowledged, in one turn of the event loop goes into one frame. */
export class RawSession {
  readonly #client: JobServiceClient;
  readonly #stream: ClientDuplexStream<SessionRequest, SessionResponse>;
  readonly #spec: JobSpec;
  readonly #waiting = new Map<string, Waiting>();
  #specs: JobSpec[] = [];
  #acks: { pool: string; id: string }[] = [];
  #scheduled = false;
  #over: Error | undefined;

  private constructor(target: string, pool: string, payload: Buffer, priority: number) {
    this.#client = new JobServiceClient(target, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
    this.#stream = this.#client.session();
    this.#spec = jobSpec({ pool, work: { $case: 'kind', value: 'noop' }, payload, priority });
  }

  /** Resolves when the replica has opened it. */
  static open(target: string, pool: string, payload: Buffer, priority = 0): Promise<RawSession> {
    const session = new RawSession(target, pool, payload, priority);
    return new Promise((resolve, reject) => {
      session.#stream.on('data', ({ frame }: SessionResponse) => {
        if (frame?.$case === 'opened') resolve(session);
        else session.#take(frame);
      });
      const over = (error: Error) => {
        session.#over = error;
        reject(error);
        for (const waiting of session.#waiting.values()) waiting.reject(error);
      };
      session.#stream.on('error', over);
      session.#stream.on('end', () => over(new Error('the replica has ended the session')));
      session.#stream.write({ frame: { $case: 'open', value: { awaiting: [], maxFrameBytes: 0, capabilities: [] } } });
    });
  }

  /** One job to its result. */
  job(pool = this.#spec.pool): Promise<void> {
    if (this.#over !== undefined) return Promise.reject(this.#over);
    const id = randomUUID();
    this.#specs.push({ ...this.#spec, id, pool });
    this.#flushSoon();
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  close(): void {
    this.#stream.cancel();
    this.#client.close();
  }

  #take(frame: SessionResponse['frame']): void {
    if (frame?.$case === 'accepted') for (const result of frame.value.results) this.#accepted(result);
    if (frame?.$case === 'outcomes') for (const job of frame.value.jobs) this.#ended(job);
  }

  #accepted({ id, code, message }: SubmitResult): void {
    if (code === 0) return;
    this.#waiting.get(id)?.reject(new Error(`a job was refused: ${message}`));
    this.#waiting.delete(id);
  }

  #ended({ spec, state, outcome }: Job): void {
    const { id = '', pool = '' } = spec ?? {};
    this.#acks.push({ pool, id });
    this.#flushSoon();
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    const right = state === JobState.JOB_STATE_SUCCEEDED && outcome?.$case === 'output' && outcome.value.length === this.#spec.payload.length;
    if (right) waiting?.resolve();
    else waiting?.reject(new Error(`a job ended otherwise than it should: state ${state}`));
  }

  #flushSoon(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#flush());
  }

  #flush(): void {
    this.#scheduled = false;
    const specs = this.#specs;
    const acks = this.#acks;
    this.#specs = [];
    this.#acks = [];
    for (let i = 0; i < acks.length; i += MAX_LIST) this.#stream.write({ frame: { $case: 'ack', value: { jobs: acks.slice(i, i + MAX_LIST) } } });
    for (let i = 0; i < specs.length; i += MAX_LIST) {
      this.#stream.write({ frame: { $case: 'submit', value: { specs: specs.slice(i, i + MAX_LIST) } } });
    }
  }
}
