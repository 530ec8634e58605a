import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData, status } from '@grpc/grpc-js';
import type { Clock } from '../../domain/clock.js';
import { formatAddress } from '../../domain/worker.js';
import { Contract } from '../../grpc/generated/muster/v1/common.js';
import {
  type AttachRequest,
  type DeregisterRequest,
  type DeregisterResponse,
  type Hello,
  type PingRequest,
  type PongResponse,
  type RegisterAck,
  type ReportRequest,
  type ReportResponse,
  Verdict,
  type WorkerInfo,
  WorkerServiceService,
} from '../../grpc/generated/muster/v1/worker.js';
import { toDuration } from '../duration.js';
import { type AttachCall, type AttachedOptions, AttachedSubject } from './attached.js';
import { DialedSubject } from './dialed.js';
import { Results } from './results.js';
import type { Subject } from './types.js';

export interface HostOptions extends AttachedOptions {
  clock: Clock;
  /** `host:port`; port 0: any. */
  listen: string;
}

type Unary<Request, Response> = (call: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>) => void;

/** Plays the replica that one worker comes to: the first that registers or attaches is the one under test; others are refused. */
export class Host {
  readonly #options: HostOptions;
  readonly #server = new Server();
  readonly #results = new Results();
  readonly #arrived: Promise<Subject>;
  #arrive: (subject: Subject) => void = () => {};
  #attached: AttachedSubject | undefined;
  #registered: { id: string; boot: string } | undefined;
  #leaving = false;

  constructor(options: HostOptions) {
    this.#options = options;
    this.#arrived = new Promise((resolve) => {
      this.#arrive = resolve;
    });
    this.#server.addService(WorkerServiceService, {
      register: this.#register,
      ping: this.#ping,
      deregister: this.#deregister,
      report: this.#report,
      attach: (call: AttachCall) => this.#attach(call),
    });
  }

  /** Resolves with the port. Rejects when the address cannot be listened on. */
  start(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(this.#options.listen, ServerCredentials.createInsecure(), (error, port) => (error ? reject(error) : resolve(port)));
    });
  }

  /** The worker under test, once it came. */
  arrival(): Promise<Subject> {
    return this.#arrived;
  }

  close(): void {
    this.#attached?.close();
    this.#server.forceShutdown();
  }

  #register: Unary<WorkerInfo, RegisterAck> = (call, callback) => {
    const { id, port, boot, slots, contract } = call.request;
    const runner = contract === Contract.CONTRACT_RUNNER || contract === Contract.CONTRACT_UNSPECIFIED;
    if (!runner) return callback({ code: status.INVALID_ARGUMENT, details: 'contract: the test is for RUNNER and ATTACHED workers' });
    if (this.#taken(id)) return callback({ code: status.ALREADY_EXISTS, details: `id: ${this.#taken(id)} is being tested` });
    const ip =
      call.request.ip ||
      call
        .getPeer()
        .replace(/:\d+$/, '')
        .replace(/^\[|\]$/g, '');
    const again = this.#registered !== undefined;
    this.#registered = { id, boot };
    callback(null, { success: true, message: '', boot, replica: 'conform', pingInterval: toDuration(this.#options.beatMs * 4) });
    if (again) return;
    const { clock, patienceMs } = this.#options;
    const reports = { results: this.#results, boot, leaving: () => this.#leaving };
    this.#arrive(new DialedSubject({ address: formatAddress({ ip, port }), slots: slots || 1, clock, patienceMs, reports }));
  };

  #ping: Unary<PingRequest, PongResponse> = ({ request: { id, boot } }, callback) => {
    const known = this.#registered;
    callback(null, { healthy: known !== undefined && known.id === id && known.boot === boot, reason: '' });
  };

  #deregister: Unary<DeregisterRequest, DeregisterResponse> = ({ request: { id } }, callback) => {
    if (id === this.#registered?.id) this.#leaving = true;
    callback(null, { held: 0 });
  };

  #report: Unary<ReportRequest, ReportResponse> = ({ request: { results } }, callback) => {
    for (const result of results) this.#results.add(result);
    const settlements = results.map(({ jobId, fence }) => ({ jobId, fence, verdict: Verdict.VERDICT_ACCEPTED }));
    callback(null, { settlements, revoked: [] });
  };

  #attach(call: AttachCall): void {
    call.once('error', () => {});
    call.once('data', ({ frame }: AttachRequest) => {
      if (frame?.$case !== 'hello') return void call.emit('error', { code: status.INVALID_ARGUMENT, details: 'the first frame is Hello' });
      const refusal = this.#refusal(frame.value);
      if (refusal !== undefined) return void call.emit('error', refusal);
      const first = this.#attached === undefined;
      this.#attached ??= new AttachedSubject(frame.value, this.#options);
      this.#attached.take(call, frame.value);
      if (first) this.#arrive(this.#attached);
    });
  }

  #refusal({ worker }: Hello): { code: number; details: string } | undefined {
    if (worker === undefined || worker.id === '' || worker.boot === '')
      return { code: status.INVALID_ARGUMENT, details: 'hello.worker: id and boot must be set' };
    if (this.#taken(worker.id)) return { code: status.ALREADY_EXISTS, details: `hello.worker.id: ${this.#taken(worker.id)} is being tested` };
    if (this.#attached !== undefined && this.#attached.boot !== worker.boot)
      return { code: status.FAILED_PRECONDITION, details: 'hello.worker.boot: a stream of the same life must keep its boot' };
    return undefined;
  }

  /** The id of another worker that came first. */
  #taken(id: string): string | undefined {
    const there = this.#attached?.id ?? this.#registered?.id;
    return there === undefined || there === id ? undefined : there;
  }
}
