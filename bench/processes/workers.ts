import { once } from 'node:events';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { type RunnerServiceServer, RunnerServiceService, RunnerStatus } from '../../src/grpc/generated/muster/v1/runner.js';

/**
 * Workers in one process, each a server on a port (and so a connection) of its own. The leanest handler: the output is the payload, and
 * nothing is remembered, so this is no worker for real use. `argv[2]`: how many. Sends the ports.
 */
const count = Number(process.argv[2]);

function handlers(id: string): RunnerServiceServer {
  return {
    execute: ({ request: { assignment } }, callback) => {
      const { jobId = '', fence = '0', payload = Buffer.alloc(0) } = assignment ?? {};
      callback(null, { answer: { $case: 'result', value: { jobId, fence, outcome: { $case: 'output', value: payload } } } });
    },
    abort: (_call, callback) => callback(null, {}),
    probe: (_call, callback) => callback(null, { workerId: id, boot: '', status: RunnerStatus.RUNNER_STATUS_FREE, held: [] }),
  };
}

function listen(id: string): Promise<number> {
  const server = new Server();
  server.addService(RunnerServiceService, handlers(id));
  return new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => (error ? reject(error) : resolve(port)));
  });
}

const ports = await Promise.all(Array.from({ length: count }, (_, i) => listen(`bench-${i}`)));
process.send?.(ports);
await once(process, 'disconnect');
