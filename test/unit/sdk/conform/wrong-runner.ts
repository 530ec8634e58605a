import type { ServerUnaryCall, sendUnaryData } from '@grpc/grpc-js';
import { Server, ServerCredentials, status } from '@grpc/grpc-js';
import { type Assignment, Failure, type Result } from '../../../../src/grpc/generated/muster/v1/common.js';
import { type ExecuteRequest, type ExecuteResponse, RunnerServiceService, RunnerStatus } from '../../../../src/grpc/generated/muster/v1/runner.js';
import type { Work } from '../../../../src/sdk/conform/types.js';

/** What can be wrong with this worker; without any of it, it is right. */
export type Fault =
  | 'no kind'
  | 'other answer'
  | 'throws failures'
  | 'all retryable'
  | 'queues'
  | 'unlimited'
  | 'refuses as unavailable'
  | 'always free'
  | 'names nothing'
  | 'new id a probe'
  | 'new boot a probe'
  | 'goes on when aborted'
  | 'refuses unknown aborts'
  | 'runs stale'
  | 'joins nothing'
  | 'runs beside'
  | 'any kind'
  | 'no timeout'
  | 'forgets'
  | 'dies with its call'
  | 'cut off at stop'
  | 'never ends';

interface Running {
  assignment: Assignment;
  stop: (why: Failure) => void;
  result: Promise<Result>;
}

/** A dialed worker of the test's own, from the generated stubs alone. */
export class WrongRunner {
  readonly #faults: ReadonlySet<Fault>;
  readonly #server = new Server();
  readonly #running = new Map<string, Running>();
  readonly #done = new Map<string, Result>();
  readonly #unfetched = new Set<string>();
  readonly #newest = new Map<string, bigint>();
  #runs = 0;
  #probes = 0;
  #stopping = false;
  address = '';

  constructor(...faults: Fault[]) {
    this.#faults = new Set(faults);
    this.#server.addService(RunnerServiceService, {
      execute: (call: ServerUnaryCall<ExecuteRequest, ExecuteResponse>, done: sendUnaryData<ExecuteResponse>) => void this.#execute(call, done),
      abort: (call: ServerUnaryCall<{ jobId: string; fence: string }, object>, done: sendUnaryData<object>) => {
        const running = this.#running.get(keyOf(call.request));
        if (!running && this.#has('refuses unknown aborts')) return done({ code: status.NOT_FOUND, details: 'unknown' });
        if (!this.#has('goes on when aborted')) running?.stop(failure(status.CANCELLED, 'aborted'));
        done(null, {});
      },
      probe: (_call: unknown, done: sendUnaryData<object>) => done(null, this.#sight()),
    });
  }

  async start(): Promise<this> {
    const port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound)));
    });
    this.address = `127.0.0.1:${port}`;
    return this;
  }

  /** As SIGTERM does. */
  stop(): void {
    this.#stopping = true;
    if (this.#has('cut off at stop')) return this.close();
    if (!this.#has('never ends')) this.#server.tryShutdown(() => {});
  }

  close(): void {
    this.#server.forceShutdown();
    for (const { stop } of this.#running.values()) stop(failure(status.CANCELLED, 'closed'));
  }

  #has(fault: Fault): boolean {
    return this.#faults.has(fault);
  }

  #sight(): object {
    const running = [...this.#running.values()].map(({ assignment: { jobId, fence } }) => ({ jobId, fence, done: false, progress: Buffer.alloc(0) }));
    const waiting = [...this.#unfetched].map((key) => ({ ...leaseOf(key), done: true, progress: Buffer.alloc(0) }));
    const busy = running.length > 0 && !this.#has('always free');
    return {
      workerId: this.#has('new id a probe') ? `w${++this.#probes}` : 'w1',
      boot: this.#has('new boot a probe') ? `b${++this.#probes}` : '',
      status: busy ? RunnerStatus.RUNNER_STATUS_BUSY : RunnerStatus.RUNNER_STATUS_FREE,
      held: this.#has('names nothing') ? [] : [...running, ...waiting],
    };
  }

  async #execute(call: ServerUnaryCall<ExecuteRequest, ExecuteResponse>, done: sendUnaryData<ExecuteResponse>): Promise<void> {
    const { assignment } = call.request;
    if (!assignment) return done({ code: status.INVALID_ARGUMENT, details: 'assignment' });
    const key = keyOf(assignment);
    const refusal = this.#refusal(assignment);
    if (refusal) return done(refusal);
    while (this.#has('queues') && this.#running.size > 0 && !this.#running.has(key)) await [...this.#running.values()][0]?.result;
    const joined = this.#has('joins nothing') ? undefined : this.#running.get(key)?.result;
    const known = joined ?? (this.#has('forgets') ? undefined : this.#done.get(key));
    if (this.#has('dies with its call')) call.once('cancelled', () => this.#running.get(key)?.stop(failure(status.CANCELLED, 'cut')));
    const result = await (known ?? this.#run(assignment));
    if (call.cancelled) this.#unfetched.add(key);
    else this.#unfetched.delete(key);
    if (this.#has('throws failures') && result.outcome?.$case === 'failure') return done({ code: result.outcome.value.code, details: 'failed' });
    done(null, { answer: { $case: 'result', value: result } });
  }

  #refusal({ jobId, fence, kind }: Assignment): { code: number; details: string } | undefined {
    const newest = this.#newest.get(jobId) ?? 0n;
    if (BigInt(fence) < newest && !this.#has('runs stale')) return { code: status.FAILED_PRECONDITION, details: 'stale' };
    const key = keyOf({ jobId, fence });
    if (this.#done.has(key) || this.#running.has(key)) return undefined;
    if (this.#has('no kind') || (kind !== 'muster.conform' && !this.#has('any kind'))) return { code: status.UNIMPLEMENTED, details: kind };
    if (BigInt(fence) > newest) this.#newest.set(jobId, BigInt(fence));
    for (const { assignment, stop } of this.#running.values())
      if (assignment.jobId === jobId && !this.#has('runs beside')) stop(failure(status.CANCELLED, 'superseded'));
    if (this.#has('queues') || this.#has('unlimited')) return undefined;
    if (this.#running.size === 0 && !this.#stopping) return undefined;
    return { code: this.#has('refuses as unavailable') ? status.FAILED_PRECONDITION : status.RESOURCE_EXHAUSTED, details: 'no slot' };
  }

  #run(assignment: Assignment): Promise<Result> {
    const { jobId, fence, payload, attempt, runTimeout } = assignment;
    const work = JSON.parse(payload.toString()) as Work;
    const run = ++this.#runs;
    const key = keyOf(assignment);
    let stop: Running['stop'] = () => {};
    const result = new Promise<Result>((resolve) => {
      const end = (outcome: NonNullable<Result['outcome']>) => {
        for (const timer of timers) clearTimeout(timer);
        const ended = { jobId, fence, outcome };
        this.#running.delete(key);
        this.#done.set(key, ended);
        resolve(ended);
      };
      const fails = { ...failure(status.UNKNOWN, 'told to fail'), retryable: !work.permanent || this.#has('all retryable') };
      const answer = this.#has('other answer') ? 'done' : `${work.echo ?? ''} ${attempt} ${run}`;
      stop = (value) => end({ $case: 'failure', value });
      const ending = () => (work.fail ? stop(fails) : end({ $case: 'output', value: Buffer.from(answer) }));
      const timers = [setTimeout(ending, work.sleep_ms ?? 0)];
      if (runTimeout && !this.#has('no timeout'))
        timers.push(setTimeout(() => stop(failure(status.DEADLINE_EXCEEDED, 'late')), Number(runTimeout.seconds) * 1_000 + runTimeout.nanos / 1e6));
    });
    this.#running.set(key, { assignment, stop, result });
    return result;
  }
}

function failure(code: number, message: string): Failure {
  return Failure.fromPartial({ code, message, reason: 'test', retryable: true });
}

function keyOf({ jobId, fence }: { jobId: string; fence: string }): string {
  return `${fence} ${jobId}`;
}

function leaseOf(key: string): { jobId: string; fence: string } {
  const [fence = '', jobId = ''] = key.split(' ');
  return { jobId, fence };
}
