import { type ChannelCredentials, type ClientDuplexStream, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { afterAll } from 'vitest';
import type { Assignment, Held, Result } from '../../../src/grpc/generated/muster/v1/common.js';
import { type AttachRequest, type AttachResponse, Hello, type Verdict, WorkerServiceClient } from '../../../src/grpc/generated/muster/v1/worker.js';
import { until } from '../../helpers/until.js';

const open: (() => void)[] = [];

afterAll(() => {
  for (const close of open.splice(0)) close();
});

type Frame = NonNullable<AttachRequest['frame']>;
export type LeaseNamed = Pick<Assignment, 'jobId' | 'fence'>;

/** A worker that says on its Attach stream what a test tells it to say, honest or not. It answers pings with nothing held. */
export class RawWorker {
  readonly assignments: Assignment[] = [];
  readonly revoked: Held[] = [];
  /** `job fence` → what became of the result. */
  readonly verdicts = new Map<string, Verdict>();
  /** What a ping is answered with. */
  held: LeaseNamed[] = [];
  welcomed = false;
  /** The replica has ended the stream; with an error or without. */
  ended = false;
  pings = 0;
  error: ServiceError | undefined;
  readonly #stream: ClientDuplexStream<AttachRequest, AttachResponse>;

  constructor(target: string, creds: ChannelCredentials = credentials.createInsecure()) {
    const client = new WorkerServiceClient(target, creds, { 'grpc.use_local_subchannel_pool': 1 });
    this.#stream = client.attach(new Metadata());
    this.#stream.on('data', (response: AttachResponse) => this.#take(response));
    this.#stream.on('end', () => {
      this.ended = true;
    });
    this.#stream.on('error', (error: ServiceError) => {
      this.error = error;
      this.ended = true;
    });
    open.push(() => {
      this.#stream.cancel();
      client.close();
    });
  }

  /** Resolves when it is attached. */
  static async attach(
    target: string,
    worker: { pool: string; id: string; boot?: string; slots?: number },
    held: LeaseNamed[] = [],
    creds?: ChannelCredentials,
  ) {
    const raw = new RawWorker(target, creds);
    raw.hello(worker, held);
    await until(() => raw.welcomed || raw.error, { what: `${worker.id} to attach` });
    if (raw.error) throw raw.error;
    return raw;
  }

  hello({ pool, id, boot = `${id}-boot`, slots = 1 }: { pool: string; id: string; boot?: string; slots?: number }, held: LeaseNamed[] = []): void {
    this.send({ $case: 'hello', value: Hello.fromPartial({ worker: { pool, id, boot, slots }, held: heldOf(held) }) });
  }

  send(frame: Frame): void {
    this.#stream.write({ frame });
  }

  result(...results: Result[]): void {
    this.send({ $case: 'results', value: { results } });
  }

  /** Sends the result, and waits for its verdict. */
  async settle(result: Result): Promise<Verdict | undefined> {
    const name = `${result.jobId} ${result.fence}`;
    this.verdicts.delete(name);
    this.result(result);
    await until(() => this.ended || this.verdicts.has(name), { what: `the verdict on ${name}` });
    return this.verdicts.get(name);
  }

  /** Ends its side of the stream. */
  end(): void {
    this.#stream.end();
  }

  assigned(jobId: string): Promise<Assignment> {
    return until(() => this.assignments.find((one) => one.jobId === jobId), { what: `an assignment of ${jobId}` });
  }

  #take({ frame }: AttachResponse): void {
    if (frame?.$case === 'welcome') this.welcomed = true;
    if (frame?.$case === 'assign') this.assignments.push(...frame.value.assignments);
    if (frame?.$case === 'revoke') this.revoked.push(...frame.value.held);
    if (frame?.$case === 'settled') for (const { jobId, fence, verdict } of frame.value.settlements) this.verdicts.set(`${jobId} ${fence}`, verdict);
    if (frame?.$case === 'ping') {
      this.pings++;
      this.send({ $case: 'pong', value: { nonce: frame.value.nonce, held: heldOf(this.held) } });
    }
  }
}

export function heldOf(leases: LeaseNamed[], more: Partial<Held> = {}): Held[] {
  return leases.map(({ jobId, fence }) => ({ jobId, fence, done: false, progress: Buffer.alloc(0), ...more }));
}

export function output({ jobId, fence }: LeaseNamed, said = 'done'): Result {
  return { jobId, fence, outcome: { $case: 'output', value: Buffer.from(said) } };
}

/** A failure after which the job is not tried again. */
export function lastFailure({ jobId, fence }: LeaseNamed): Result {
  const value = { code: 3, message: 'forged', reason: 'forged', retryable: false, details: Buffer.alloc(0), retryDelay: undefined };
  return { jobId, fence, outcome: { $case: 'failure', value } };
}
