import { type ClientDuplexStream, credentials, status } from '@grpc/grpc-js';
import { type Assignment, Failure, type Held, type Result } from '../../../../src/grpc/generated/muster/v1/common.js';
import { type AttachRequest, type AttachResponse, WorkerInfo, WorkerServiceClient } from '../../../../src/grpc/generated/muster/v1/worker.js';
import type { Work } from '../../../../src/sdk/conform/types.js';

/** What can be wrong with this worker; without any of it, it is right. */
export type AttachedFault =
  | 'one after another'
  | 'no beats'
  | 'pongs name nothing'
  | 'goes on when cancelled'
  | 'refuses nothing'
  | 'no timeout'
  | 'runs stale'
  | 'runs beside'
  | 'runs twice'
  | 'forgets at once'
  | 'sends once'
  | 'dies with its stream'
  | 'bare hello'
  | 'never stops what is revoked'
  | 'says nothing of the revoked'
  | 'breaks before it makes'
  | 'stays on the old stream'
  | 'results of others'
  | 'no goodbye'
  | 'leaves at once';

type Stream = ClientDuplexStream<AttachRequest, AttachResponse>;
type Frame = NonNullable<AttachRequest['frame']>;

interface Job {
  assignment: Assignment;
  result?: Result;
  revoked?: boolean;
  stop: (why: Failure) => void;
}

const info = { id: 'a1', pool: 'p', boot: 'b1' };

/** An attached worker of the test's own, from the generated stubs alone. */
export class WrongAttached {
  readonly #faults: ReadonlySet<AttachedFault>;
  readonly #client: WorkerServiceClient;
  readonly #slots: number;
  readonly #jobs = new Map<string, Job>();
  readonly #newest = new Map<string, bigint>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #stream: Stream | undefined;
  #runs = 0;
  #leaving = false;
  #beat: NodeJS.Timeout | undefined;

  constructor(target: string, slots: number, ...faults: AttachedFault[]) {
    this.#faults = new Set(faults);
    this.#slots = slots;
    this.#client = new WorkerServiceClient(target, credentials.createInsecure(), { 'grpc.initial_reconnect_backoff_ms': 50 });
    this.#open();
  }

  /** As SIGTERM does. */
  stop(): void {
    this.#leaving = true;
    if (this.#has('leaves at once')) return this.close();
    if (!this.#has('no goodbye')) this.#send({ $case: 'goodbye', value: { drainTimeout: undefined } });
    this.#leave();
  }

  close(): void {
    this.#leaving = true;
    clearInterval(this.#beat);
    for (const timer of this.#timers) clearTimeout(timer);
    this.#stream?.cancel();
    this.#client.close();
  }

  #has(fault: AttachedFault): boolean {
    return this.#faults.has(fault);
  }

  #open(): void {
    const old = this.#stream;
    const stream = this.#client.attach();
    if (!this.#has('stays on the old stream') || old === undefined) this.#stream = stream;
    stream.on('data', (response: AttachResponse) => this.#read(stream, response, old));
    stream.on('error', () => this.#lost(stream));
    stream.on('end', () => this.#lost(stream));
    const held = this.#has('bare hello') ? [] : this.#held();
    stream.write({
      frame: {
        $case: 'hello',
        value: { worker: WorkerInfo.fromPartial({ ...info, slots: this.#slots }), held, capabilities: [], paused: false, maxFrameBytes: 0 },
      },
    });
  }

  #lost(stream: Stream): void {
    if (stream !== this.#stream) return;
    this.#stream = undefined;
    if (this.#has('dies with its stream')) for (const { stop } of this.#jobs.values()) stop(failure(status.CANCELLED, 'cut'));
    if (!this.#leaving) this.#later(20, () => this.#open());
  }

  #read(stream: Stream, { frame }: AttachResponse, old: Stream | undefined): void {
    switch (frame?.$case) {
      case 'welcome':
        if (!this.#has('stays on the old stream')) old?.end();
        clearInterval(this.#beat);
        this.#beat = setInterval(() => this.#beats(), 40);
        if (!this.#has('sends once')) for (const { result } of this.#jobs.values()) if (result) this.#results(result);
        if (this.#has('results of others')) this.#results({ jobId: 'other', fence: '1', outcome: { $case: 'output', value: Buffer.alloc(0) } });
        return;
      case 'assign':
        for (const assignment of frame.value.assignments) this.#assigned(assignment);
        return;
      case 'cancel':
        for (const lease of frame.value.held)
          if (!this.#has('goes on when cancelled')) this.#jobs.get(keyOf(lease))?.stop(failure(status.CANCELLED, 'cancelled'));
        return;
      case 'revoke':
        for (const lease of frame.value.held) this.#revoked(lease);
        return;
      case 'settled':
        for (const lease of frame.value.settlements) this.#jobs.delete(keyOf(lease));
        return this.#leave();
      case 'reattach':
        if (this.#has('breaks before it makes')) stream.end();
        this.#later(this.#has('breaks before it makes') ? 60 : 0, () => this.#open());
        return;
      case 'ping':
        stream.write({ frame: { $case: 'pong', value: { nonce: frame.value.nonce, held: this.#has('pongs name nothing') ? [] : this.#held() } } });
    }
  }

  #assigned(assignment: Assignment): void {
    const { jobId, fence, kind } = assignment;
    const newest = this.#newest.get(jobId) ?? 0n;
    const known = this.#jobs.get(keyOf(assignment));
    if (known && !this.#has('runs twice')) return known.result && this.#results(known.result);
    const refuse = (code: number) => this.#end(assignment, { $case: 'failure', value: failure(code, 'refused') });
    if (BigInt(fence) < newest && !this.#has('runs stale')) return refuse(status.FAILED_PRECONDITION);
    if (kind !== 'muster.conform' && !this.#has('refuses nothing')) return refuse(status.UNIMPLEMENTED);
    this.#newest.set(jobId, BigInt(fence));
    for (const job of this.#jobs.values())
      if (job.assignment.jobId === jobId && job.assignment.fence !== fence && !this.#has('runs beside'))
        job.stop(failure(status.CANCELLED, 'superseded'));
    this.#run(assignment);
  }

  #run(assignment: Assignment): void {
    const { payload, attempt, runTimeout } = assignment;
    const work = JSON.parse(payload.toString()) as Work;
    const run = ++this.#runs;
    const before = this.#has('one after another') ? [...this.#jobs.values()].filter(({ result }) => !result).length : 0;
    const stop = (why: Failure) => this.#end(assignment, { $case: 'failure', value: why });
    this.#jobs.set(keyOf(assignment), { assignment, stop });
    this.#later((work.sleep_ms ?? 0) * (before + 1), () => {
      if (work.fail) return stop({ ...failure(status.UNKNOWN, 'told to fail'), retryable: !work.permanent });
      this.#end(assignment, { $case: 'output', value: Buffer.from(`${work.echo ?? ''} ${attempt} ${run}`) });
    });
    if (runTimeout && !this.#has('no timeout'))
      this.#later(Number(runTimeout.seconds) * 1_000 + runTimeout.nanos / 1e6, () => stop(failure(status.DEADLINE_EXCEEDED, 'late')));
  }

  #end(assignment: Assignment, outcome: NonNullable<Result['outcome']>): void {
    const { jobId, fence } = assignment;
    const key = keyOf(assignment);
    const job = this.#jobs.get(key) ?? { assignment, stop: () => {} };
    if (job.result || (job.revoked && !this.#has('never stops what is revoked'))) return;
    job.result = { jobId, fence, outcome };
    this.#jobs.set(key, job);
    this.#results(job.result);
    if (this.#has('forgets at once')) this.#jobs.delete(key);
  }

  #revoked(lease: { jobId: string; fence: string }): void {
    const job = this.#jobs.get(keyOf(lease));
    if (!job || this.#has('never stops what is revoked')) return;
    job.revoked = true;
    this.#jobs.delete(keyOf(lease));
    if (!this.#has('says nothing of the revoked'))
      this.#send({ $case: 'received', value: { held: [{ ...lease, done: true, progress: Buffer.alloc(0) }] } });
  }

  #beats(): void {
    if (!this.#has('no beats') && this.#jobs.size > 0) this.#send({ $case: 'beat', value: { held: this.#held() } });
  }

  #held(): Held[] {
    return [...this.#jobs.values()].map(({ assignment: { jobId, fence }, result }) => ({
      jobId,
      fence,
      done: result !== undefined,
      progress: Buffer.alloc(0),
    }));
  }

  #results(result: Result): void {
    this.#send({ $case: 'results', value: { results: [result] } });
  }

  #leave(): void {
    if (!this.#leaving || this.#jobs.size > 0) return;
    clearInterval(this.#beat);
    this.#stream?.end();
  }

  #send(frame: Frame): void {
    this.#stream?.write({ frame });
  }

  #later(ms: number, run: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, ms);
    this.#timers.add(timer);
  }
}

function failure(code: number, message: string): Failure {
  return Failure.fromPartial({ code, message, reason: 'test', retryable: true });
}

function keyOf({ jobId, fence }: { jobId: string; fence: string }): string {
  return `${fence} ${jobId}`;
}
