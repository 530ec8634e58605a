import type { ClientDuplexStream } from '@grpc/grpc-js';
import { credentials } from '@grpc/grpc-js';
import { Contract, type Held } from '../../src/grpc/generated/muster/v1/common.js';
import { type AttachRequest, type AttachResponse, WorkerServiceClient } from '../../src/grpc/generated/muster/v1/worker.js';
import type { Answer, Order } from './attached-orders.js';

/**
 * Attached workers in one process, each on a TCP connection of its own. The leanest client: the output is the payload, results are not kept,
 * so this is no worker for real use. `argv`: pools with commas (the workers take turns), prefix of their ids, how many. Does what it is told
 * by messages, and answers each.
 */
const [, , poolNames = '', prefix = '', count = '0'] = process.argv;
const pools = poolNames.split(',');
const AT_ONCE = 64;
const RETRY_MS = 500;
/** The end of a round of levelling out. */
const MOVE_MS = 1_000;
const NO_BYTES = Buffer.alloc(0);

let targets: string[] = [];
/** Assignments are kept without a result. */
let keeping = false;

class BenchWorker {
  readonly #id: string;
  readonly #pool: string;
  readonly #boot: string;
  /** (job, fence, payload) of what it keeps. */
  readonly #kept = new Map<string, { jobId: string; fence: string; payload: Buffer }>();
  #stream: ClientDuplexStream<AttachRequest, AttachResponse> | undefined;
  replica = '';

  constructor(id: string, pool: string) {
    this.#id = id;
    this.#pool = pool;
    this.#boot = `boot-${id}-${process.pid}`;
  }

  get keeps(): number {
    return this.#kept.size;
  }

  /** Resolves with the first Welcome of a new stream; the stream before is ended then. */
  attach(): Promise<void> {
    // One at random: as a load balancer would, and as the SDK does.
    const target = targets[Math.floor(Math.random() * targets.length)] ?? '';
    const client = new WorkerServiceClient(target, credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_retries': 0,
      'grpc.enable_channelz': 0,
    });
    const stream = client.attach();
    return new Promise((resolve) => {
      stream.on('data', ({ frame }: AttachResponse) => {
        if (frame?.$case !== 'welcome') return this.#take(stream, frame);
        const before = this.#stream;
        this.#stream = stream;
        this.replica = frame.value.replica;
        before?.end();
        resolve();
      });
      stream.on('error', () => undefined);
      stream.on('close', () => {
        client.close();
        if (this.#stream !== undefined && this.#stream !== stream) return;
        // Refused, or broken off: as the SDK does, it tries again.
        this.#stream = undefined;
        setTimeout(() => void this.attach().then(resolve), RETRY_MS * (0.5 + Math.random()));
      });
      const worker = { id: this.#id, ip: '', port: 0, region: '', pool: this.#pool, slots: 1, labels: {}, boot: this.#boot, kinds: [], version: '' };
      const hello = {
        worker: { ...worker, contract: Contract.CONTRACT_ATTACHED },
        held: this.#held(),
        capabilities: [],
        paused: false,
        maxFrameBytes: 0,
      };
      stream.write({ frame: { $case: 'hello', value: hello } });
    });
  }

  finish(): void {
    for (const { jobId, fence, payload } of this.#kept.values()) this.#result(this.#stream, jobId, fence, payload);
    this.#kept.clear();
  }

  #take(stream: ClientDuplexStream<AttachRequest, AttachResponse>, frame: AttachResponse['frame']): void {
    switch (frame?.$case) {
      case 'assign':
        for (const { jobId, fence, payload } of frame.value.assignments) {
          if (keeping) this.#kept.set(`${jobId} ${fence}`, { jobId, fence, payload });
          else this.#result(stream, jobId, fence, payload);
        }
        return;
      case 'ping':
        stream.write({ frame: { $case: 'pong', value: { nonce: frame.value.nonce, held: this.#held() } } });
        return;
      case 'reattach':
        setTimeout(() => stream === this.#stream && void this.attach(), MOVE_MS * Math.random());
        return;
      default:
        return;
    }
  }

  #result(stream: ClientDuplexStream<AttachRequest, AttachResponse> | undefined, jobId: string, fence: string, payload: Buffer): void {
    stream?.write({ frame: { $case: 'results', value: { results: [{ jobId, fence, outcome: { $case: 'output', value: payload } }] } } });
  }

  #held(): Held[] {
    return [...this.#kept.values()].map(({ jobId, fence }) => ({ jobId, fence, done: false, progress: NO_BYTES }));
  }
}

const workers = Array.from({ length: Number(count) }, (_, i) => new BenchWorker(`${prefix}-${i}`, pools[i % pools.length] ?? ''));

async function attachAll(): Promise<void> {
  const left = [...workers];
  const lane = async () => {
    for (let worker = left.pop(); worker !== undefined; worker = left.pop()) await worker.attach();
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

async function follow(order: Order): Promise<Answer> {
  switch (order.do) {
    case 'attach':
      targets = order.targets;
      await attachAll();
      break;
    case 'targets':
      targets = order.targets;
      break;
    case 'keep':
      keeping = true;
      break;
    case 'finish':
      keeping = false;
      for (const worker of workers) worker.finish();
      break;
    case 'look':
      break;
  }
  const at: Record<string, number> = {};
  for (const { replica } of workers) at[replica] = (at[replica] ?? 0) + 1;
  return { at, busy: workers.filter(({ keeps }) => keeps === 1).length, twice: workers.filter(({ keeps }) => keeps > 1).length };
}

process.on('message', (order: Order) => void follow(order).then((answer) => process.send?.(answer)));
// Nothing else keeps it alive before it is told to attach; the leash ends it.
process.channel?.ref();
process.send?.('ready');
