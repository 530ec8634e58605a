import { Client, credentials, Metadata, Server, ServerCredentials, type sendUnaryData } from '@grpc/grpc-js';
import { RunnerServiceService } from '../../src/grpc/generated/muster/v1/runner.js';

/**
 * The least that could stand between a client and a fleet: takes a call, gives its bytes to a free worker, hands the answer back. No
 * Redis, no deadline, nothing decoded, nothing remembered. `argv[2]`: the workers' ports, with commas. Sends its own port.
 */
interface Waiting {
  bytes: Buffer;
  callback: sendUnaryData<Buffer>;
}

const { path } = RunnerServiceService.execute;
const identity = (bytes: Buffer): Buffer => bytes;
const free = (process.argv[2] ?? '')
  .split(',')
  .map(
    (port) => new Client(`ipv4:127.0.0.1:${port}`, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1, 'grpc.enable_retries': 0 }),
  );
const waiting: Waiting[] = [];

function give(worker: Client, { bytes, callback }: Waiting): void {
  worker.makeUnaryRequest(path, identity, identity, bytes, new Metadata(), (error, answer) => {
    const next = waiting.shift();
    if (next === undefined) free.push(worker);
    else give(worker, next);
    callback(error, answer);
  });
}

const server = new Server();
const definition = {
  path,
  requestStream: false,
  responseStream: false,
  requestSerialize: identity,
  requestDeserialize: identity,
  responseSerialize: identity,
  responseDeserialize: identity,
} as const;
server.addService(
  { execute: definition },
  {
    execute: ({ request }: { request: Buffer }, callback: sendUnaryData<Buffer>) => {
      const worker = free.shift();
      const call = { bytes: request, callback };
      if (worker === undefined) waiting.push(call);
      else give(worker, call);
    },
  },
);
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  process.send?.(port);
});
