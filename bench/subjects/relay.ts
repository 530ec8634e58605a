import { credentials, Metadata } from '@grpc/grpc-js';
import { type ExecuteResponse, RunnerServiceClient } from '../../src/grpc/generated/muster/v1/runner.js';
import type { Subject } from '../lib/rounds.js';
import type { Bench } from '../scenario.js';
import { PAYLOAD } from './muster.js';

const DEADLINE_MS = 30_000;
/** As long as what Muster's job ids and fences are. */
const ASSIGNMENT = {
  jobId: '00000000-0000-4000-8000-000000000000',
  fence: '1800000000000000',
  kind: 'noop',
  method: '',
  payload: PAYLOAD,
  metadata: {},
  attempt: 1,
  runTimeout: { seconds: '300', nanos: 0 },
  progress: Buffer.alloc(0),
};

/** The same two unary hops to the same workers without anything between them: what gRPC alone costs. */
export async function relay(bench: Bench, ports: number[]): Promise<Subject> {
  const module = new URL('../processes/relay.ts', import.meta.url);
  const port = await bench.children.start<number>({ name: 'relay', module, args: [ports.join(',')], typescript: true });
  const client = new RunnerServiceClient(`127.0.0.1:${port}`, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_retries': 0,
  });
  return {
    name: 'relay',
    processes: ['client', 'relay', 'workers'],
    async job() {
      const { answer } = await new Promise<ExecuteResponse>((resolve, reject) => {
        client.execute({ assignment: ASSIGNMENT }, new Metadata(), { deadline: Date.now() + DEADLINE_MS }, (error, response) => {
          if (error) reject(error);
          else resolve(response);
        });
      });
      const outcome = answer?.$case === 'result' ? answer.value.outcome : undefined;
      if (outcome?.$case !== 'output' || outcome.value.length !== PAYLOAD.length) throw new Error('the relay lost a result');
    },
    async close() {
      client.close();
    },
  };
}
