import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type sendUnaryData,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { ErrorInfo, RetryInfo } from '../../../src/grpc/generated/google/rpc/error_details.js';
import { Status } from '../../../src/grpc/generated/google/rpc/status.js';
import { type AdminServiceServer, AdminServiceService } from '../../../src/grpc/generated/muster/v1/admin.js';
import { Job, type JobServiceServer, JobServiceService } from '../../../src/grpc/generated/muster/v1/job.js';
import { type WorkerServiceServer, WorkerServiceService } from '../../../src/grpc/generated/muster/v1/worker.js';

export type Answers = Partial<JobServiceServer & WorkerServiceServer & AdminServiceServer>;

export interface Replica {
  target: string;
  port: number;
  /** Cuts every connection and frees the port. */
  kill(): void;
  /** Asks every connection to go, and frees the port; what is under way goes on. */
  leave(): void;
}

/** A real gRPC server over a real socket that speaks Muster's services with the given answers; the rest is UNIMPLEMENTED. */
export async function startReplica(answers: Answers, port = 0, credentials = ServerCredentials.createInsecure()): Promise<Replica> {
  const server = new Server();
  for (const service of [JobServiceService, WorkerServiceService, AdminServiceService]) {
    const handlers: UntypedServiceImplementation = {};
    for (const [name, handler] of Object.entries(answers)) if (name in service && handler !== undefined) handlers[name] = handler;
    server.addService(service, handlers);
  }
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, credentials, (error, at) => (error === null ? resolve(at) : reject(error)));
  });
  return { target: `127.0.0.1:${bound}`, port: bound, kill: () => server.forceShutdown(), leave: () => server.tryShutdown(() => undefined) };
}

/** A handler out of a function of the request; what it throws is the status. */
export function answer<Request, Response>(make: (request: Request) => Response | Promise<Response>) {
  return (call: ServerUnaryCall<Request, Response>, callback: sendUnaryData<Response>): void => {
    void (async () => make(call.request))().then(
      (response) => callback(null, response),
      (error: unknown) =>
        callback(
          error instanceof Refused
            ? { code: error.code, details: error.message, metadata: error.metadata }
            : { code: status.INTERNAL, details: String(error) },
        ),
    );
  };
}

/** A refusal as replicas send it: the status with ErrorInfo, and RetryInfo when asked. */
export class Refused extends Error {
  readonly metadata = new Metadata();

  constructor(
    readonly code: number,
    reason: string,
    message: string,
    retryAfterMs?: number,
  ) {
    super(message);
    const details = [
      {
        typeUrl: 'type.googleapis.com/google.rpc.ErrorInfo',
        value: Buffer.from(ErrorInfo.encode({ reason, domain: 'muster', metadata: { a: 'b' } }).finish()),
      },
    ];
    if (retryAfterMs !== undefined) {
      const retryDelay = { seconds: '0', nanos: retryAfterMs * 1_000_000 };
      details.push({ typeUrl: 'type.googleapis.com/google.rpc.RetryInfo', value: Buffer.from(RetryInfo.encode({ retryDelay }).finish()) });
    }
    this.metadata.set('grpc-status-details-bin', Buffer.from(Status.encode({ code, message, details }).finish()));
  }
}

/** A whole Job out of what matters. */
export const job = Job.fromPartial;
