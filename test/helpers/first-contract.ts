import { credentials } from '@grpc/grpc-js';
import {
  type PingRequest,
  type PongResponse,
  type RegisterAck,
  type WorkerInfo,
  WorkerServiceClient,
} from '../../src/grpc/generated/worker/worker.js';

/** What a worker of the first contract calls, as such fleets do: two calls, no deadline of its own kind, nothing else. */
export function firstContract(target: string) {
  const client = new WorkerServiceClient(target, credentials.createInsecure());
  return {
    register: (info: WorkerInfo) =>
      new Promise<RegisterAck>((resolve, reject) => client.register(info, (error, answer) => (error ? reject(error) : resolve(answer)))),
    ping: (request: PingRequest) =>
      new Promise<PongResponse>((resolve, reject) => client.ping(request, (error, answer) => (error ? reject(error) : resolve(answer)))),
    close: () => client.close(),
  };
}
