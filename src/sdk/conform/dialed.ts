import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import type { Clock } from '../../domain/clock.js';
import { Assignment } from '../../grpc/generated/muster/v1/common.js';
import {
  AbortRequest,
  AbortResponse,
  ExecuteRequest,
  ExecuteResponse,
  ProbeRequest,
  ProbeResponse,
  RunnerServiceService,
  RunnerStatus,
} from '../../grpc/generated/muster/v1/runner.js';
import { toDuration } from '../duration.js';
import { type End, endOf, type Results } from './results.js';
import type { Attempt, Lease, Order, Sight, Subject } from './types.js';

export interface DialedOptions {
  /** `ip:port`. */
  address: string;
  slots: number;
  clock: Clock;
  patienceMs: number;
  /** Where the worker reports to, if that is here. */
  reports?: { results: Results; boot: string; leaving(): boolean };
}

/** What a worker refuses with; any other status says that the call broke. */
const REFUSALS: ReadonlySet<number> = new Set([
  status.RESOURCE_EXHAUSTED,
  status.FAILED_PRECONDITION,
  status.UNIMPLEMENTED,
  status.INVALID_ARGUMENT,
  status.NOT_FOUND,
  status.PERMISSION_DENIED,
  status.ALREADY_EXISTS,
  status.OUT_OF_RANGE,
  status.UNAUTHENTICATED,
  status.UNKNOWN,
  status.INTERNAL,
  status.ABORTED,
  status.DATA_LOSS,
]);

/** A worker of contract RUNNER: the tester calls it as its home would. */
export class DialedSubject implements Subject {
  readonly contract = 'RUNNER';
  readonly slots: number;
  readonly boot: string;
  readonly #options: DialedOptions;
  readonly #client: Client;

  constructor(options: DialedOptions) {
    this.slots = options.slots;
    this.boot = options.reports?.boot ?? '';
    this.#options = options;
    this.#client = new Client(options.address, credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_retries': 0,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 500,
    });
  }

  get leaving(): boolean | undefined {
    return this.#options.reports?.leaving();
  }

  assign({ jobId, fence, kind, work, attempt, runTimeoutMs }: Order): Attempt {
    const { clock, patienceMs, reports } = this.#options;
    const runTimeout = runTimeoutMs === 0 ? undefined : toDuration(runTimeoutMs);
    const assignment = Assignment.fromPartial({ jobId, fence, kind, payload: Buffer.from(JSON.stringify(work)), attempt, runTimeout });
    const deadline = clock.now() + (work.sleep_ms ?? 0) + 2 * patienceMs;
    const { path } = RunnerServiceService.execute;
    let cut = () => {};
    const end = new Promise<End>((resolve) => {
      const settle = (error: ServiceError | null, response: ExecuteResponse | undefined) => {
        if (error !== null) return resolve(refusalOf(error));
        const answer = response?.answer;
        if (answer?.$case === 'result') return resolve(endOf(answer.value, { jobId, fence }));
        if (answer === undefined) return resolve({ how: 'broken', message: 'an ExecuteResponse with neither a result nor accepted' });
        if (reports === undefined) return resolve({ how: 'elsewhere' });
        void reports.results.of({ jobId, fence }).then(resolve);
      };
      const encode = (request: ExecuteRequest) => Buffer.from(ExecuteRequest.encode(request).finish());
      const call = this.#client.makeUnaryRequest(path, encode, ExecuteResponse.decode, { assignment }, new Metadata(), { deadline }, settle);
      cut = () => call.cancel();
    });
    return { jobId, fence, end, cut };
  }

  async abort({ jobId, fence }: Lease): Promise<void> {
    const encode = (request: AbortRequest) => Buffer.from(AbortRequest.encode(request).finish());
    await this.#ask(RunnerServiceService.abort.path, encode, AbortResponse.decode, { jobId, fence });
  }

  async look(): Promise<Sight> {
    const encode = (request: ProbeRequest) => Buffer.from(ProbeRequest.encode(request).finish());
    const { workerId, boot, status: said, held } = await this.#ask(RunnerServiceService.probe.path, encode, ProbeResponse.decode, {});
    const busy = said === RunnerStatus.RUNNER_STATUS_BUSY ? true : said === RunnerStatus.RUNNER_STATUS_FREE ? false : undefined;
    return { workerId, boot, busy, held: held.map(({ jobId, fence, done }) => ({ jobId, fence, done })) };
  }

  async gone(): Promise<boolean> {
    try {
      await this.look();
      return false;
    } catch (error) {
      return (error as ServiceError).code === status.UNAVAILABLE;
    }
  }

  close(): void {
    this.#client.close();
  }

  #ask<Request, Response>(
    path: string,
    encode: (request: Request) => Buffer,
    decode: (bytes: Buffer) => Response,
    request: Request,
  ): Promise<Response> {
    const { clock, patienceMs } = this.#options;
    const deadline = clock.now() + patienceMs;
    return new Promise((resolve, reject) => {
      const settle = (error: ServiceError | null, response: Response | undefined) => {
        if (error === null && response !== undefined) resolve(response);
        else reject(error ?? new Error('an empty answer'));
      };
      this.#client.makeUnaryRequest(path, encode, decode, request, new Metadata(), { deadline }, settle);
    });
  }
}

function refusalOf({ code, details }: ServiceError): End {
  return REFUSALS.has(code) ? { how: 'refused', code, message: details } : { how: 'broken', message: `${status[code]}: ${details}` };
}
