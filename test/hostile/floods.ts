import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2';
import { AdminServiceService } from '../../src/grpc/generated/muster/v1/admin.js';
import type { Held } from '../../src/grpc/generated/muster/v1/common.js';
import {
  GetJobRequest,
  JobServiceService,
  type JobSpec,
  RunJobRequest,
  SessionRequest,
  SubmitJobRequest,
  WaitJobRequest,
} from '../../src/grpc/generated/muster/v1/job.js';
import { AttachRequest, WorkerServiceService } from '../../src/grpc/generated/muster/v1/worker.js';
import { jobSpec } from '../../src/sdk/run.js';

/** Who floods, what with, and how much of it. */
export interface Flood {
  port: number;
  /** Secrets of one identity, by role. */
  client: string;
  worker: string;
  pool: string;
  kinds: FloodName[];
  /** For each kind. */
  forMs: number;
  bytesPerSecond: number;
}

interface Kind {
  path: string;
  role: 'client' | 'worker';
  /** The first message of a stream. */
  first?: (flood: Flood, n: number) => Buffer;
  /** The message number n. */
  next: (flood: Flood, n: number) => Buffer;
  /** Each message is a call of its own. */
  unary?: boolean;
}

const STREAMS = 4;
const TICK_MS = 10;
const LIST = 64;
const SESSION = JobServiceService.session.path;
const ATTACH = WorkerServiceService.attach.path;
const EMPTY = Buffer.alloc(0);
/** Field 100, of a version yet to come. */
const UNKNOWN = Buffer.from([0xa2, 0x06, 0x01, 0x00]);

function message(body: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

const many = <T>(make: (i: number) => T) => Array.from({ length: LIST }, (_, i) => make(i));
const session = (frame: SessionRequest['frame']) => message(SessionRequest.encode({ frame }).finish());
const attach = (frame: AttachRequest['frame']) => message(AttachRequest.encode({ frame }).finish());
const spec = ({ pool }: Flood, id: string): JobSpec => jobSpec({ pool, id, work: { $case: 'kind', value: 'none' }, payload: Buffer.from('1') });
const held = (i: number): Held => ({ jobId: `job-${i}`, fence: String(1_000 + i), done: false, progress: EMPTY });

const opened = {
  path: SESSION,
  role: 'client',
  first: () => session({ $case: 'open', value: { awaiting: [], maxFrameBytes: 0, capabilities: [] } }),
} as const;
const hello = ({ pool }: Flood, n: number) =>
  attach({
    $case: 'hello',
    value: {
      worker: {
        contract: 0,
        ip: '',
        port: 0,
        id: `w-${process.pid}-${n}`,
        pool,
        boot: `b-${process.pid}-${n}`,
        slots: 1,
        kinds: [],
        labels: {},
        region: '',
        version: '',
      },
      held: [],
      capabilities: [],
      paused: true,
      maxFrameBytes: 0,
    },
  });
const attached = { path: ATTACH, role: 'worker', first: hello } as const;

/** Every kind of frame that a replica takes, in the form that costs it most for its bytes. */
export const FLOODS = {
  'empty frames': { ...opened, next: () => message(EMPTY) },
  'unknown frames': { ...opened, next: () => message(UNKNOWN) },
  'refused items': { ...opened, next: () => session({ $case: 'submit', value: { specs: many(() => jobSpec({})) } }) },
  'one id again': { ...opened, next: (flood) => session({ $case: 'submit', value: { specs: many(() => spec(flood, 'again')) } }) },
  'new jobs': { ...opened, next: (flood, n) => session({ $case: 'submit', value: { specs: [spec(flood, `new-${process.pid}-${n}`)] } }) },
  cancels: { ...opened, next: ({ pool }, n) => session({ $case: 'cancel', value: { jobs: many((i) => ({ pool, id: `${n}-${i}` })) } }) },
  acks: { ...opened, next: ({ pool }) => session({ $case: 'ack', value: { jobs: [{ pool, id: 'again' }] } }) },
  opens: {
    ...opened,
    next: ({ pool }, n) =>
      session({ $case: 'open', value: { awaiting: many((i) => ({ pool, id: `${n}-${i}` })), maxFrameBytes: 0, capabilities: [] } }),
  },
  beats: { ...attached, next: () => attach({ $case: 'beat', value: { held: [] } }) },
  received: { ...attached, next: () => attach({ $case: 'received', value: { held: many(held) } }) },
  resizes: { ...attached, next: () => attach({ $case: 'resize', value: { slots: 0 } }) },
  pongs: { ...attached, next: () => attach({ $case: 'pong', value: { nonce: '1', held: [] } }) },
  results: {
    ...attached,
    next: (_, n) => {
      const outcome = { $case: 'output', value: EMPTY } as const;
      return attach({ $case: 'results', value: { results: [{ jobId: `job-${n}`, fence: String(n + 1), outcome }] } });
    },
  },
  hellos: { path: ATTACH, role: 'worker', first: hello, next: hello },
  'unknown jobs': {
    path: JobServiceService.getJob.path,
    role: 'client',
    unary: true,
    next: ({ pool }, n) => message(GetJobRequest.encode({ pool, id: `no-${n}` }).finish()),
  },
  'refused calls': {
    path: JobServiceService.submitJob.path,
    role: 'client',
    unary: true,
    next: () => message(SubmitJobRequest.encode({ spec: undefined }).finish()),
  },
  'waiting calls': {
    path: JobServiceService.runJob.path,
    role: 'client',
    unary: true,
    next: (flood) => message(RunJobRequest.encode({ spec: spec(flood, 'again'), wait: undefined, cancelOnDisconnect: false }).finish()),
  },
  'waits for one job': {
    path: JobServiceService.waitJob.path,
    role: 'client',
    unary: true,
    next: ({ pool }) => message(WaitJobRequest.encode({ pool, id: 'again', wait: undefined }).finish()),
  },
  'calls of others': { path: AdminServiceService.listPools.path, role: 'client', unary: true, next: () => message(EMPTY) },
} satisfies Record<string, Kind>;

export type FloodName = keyof typeof FLOODS;

/** Runs one kind after another. Answers how many messages it sent of each. */
export async function runFlood(flood: Flood): Promise<Record<string, number>> {
  const sent: Record<string, number> = {};
  for (const name of flood.kinds) sent[name] = await floodWith(FLOODS[name], flood);
  return sent;
}

async function floodWith(kind: Kind, flood: Flood): Promise<number> {
  const mouths = Array.from({ length: STREAMS }, () => new Mouth(kind, flood));
  const until = performance.now() + flood.forMs;
  let at = performance.now();
  let due = 0;
  while (performance.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, TICK_MS));
    const now = performance.now();
    // What could not be sent in time is not made up for: the rate is a bound.
    due = Math.min(due + ((now - at) * flood.bytesPerSecond) / 1_000, flood.bytesPerSecond / 10);
    at = now;
    for (let turn = 0, stuck = 0; due > 0 && stuck < STREAMS; turn++) {
      const bytes = mouths[turn % STREAMS]?.say() ?? 0;
      stuck = bytes === 0 ? stuck + 1 : 0;
      due -= bytes;
    }
  }
  const sent = mouths.reduce((sum, mouth) => sum + mouth.sent, 0);
  for (const mouth of mouths) mouth.shut();
  return sent;
}

let serial = 0;

/** One connection with one stream on it, or many calls. */
class Mouth {
  sent = 0;
  #session: ClientHttp2Session | undefined;
  #stream: ClientHttp2Stream | undefined;
  #n = 0;

  constructor(
    private readonly kind: Kind,
    private readonly flood: Flood,
  ) {}

  /** How many bytes it sent; 0: nothing can be sent now. */
  say(): number {
    const { kind, flood } = this;
    if (!this.#session || this.#session.closed || this.#session.destroyed) {
      this.#session = connect(`http://127.0.0.1:${flood.port}`);
      this.#session.on('error', () => undefined);
    }
    if (kind.unary) {
      const frame = kind.next(flood, this.#n++);
      const stream = this.#open(this.#session);
      stream.end(frame);
      this.sent++;
      return frame.length + 60;
    }
    if (this.#stream && (this.#stream.closed || this.#stream.destroyed)) this.#stream = undefined;
    let bytes = 0;
    if (!this.#stream) {
      this.#stream = this.#open(this.#session);
      const first = kind.first?.(flood, serial++) ?? EMPTY;
      this.#stream.write(first);
      bytes += first.length + 60;
    }
    if (this.#stream.writableNeedDrain) return bytes;
    // Small messages go many to a DATA frame, as they arrive at a replica.
    const frames = Array.from({ length: 16 }, () => kind.next(flood, this.#n++));
    const all = Buffer.concat(frames);
    this.#stream.write(all);
    this.sent += frames.length;
    return bytes + all.length;
  }

  shut(): void {
    this.#session?.destroy();
  }

  #open(http: ClientHttp2Session): ClientHttp2Stream {
    const { kind, flood } = this;
    const stream = http.request({
      ':method': 'POST',
      ':path': kind.path,
      'content-type': 'application/grpc',
      te: 'trailers',
      authorization: `Bearer ${flood[kind.role]}`,
    });
    stream.on('error', () => undefined);
    stream.resume();
    return stream;
  }
}
