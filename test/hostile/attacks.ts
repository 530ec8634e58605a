import { once } from 'node:events';
import { type ClientHttp2Session, connect as connectHttp2, constants } from 'node:http2';
import { connect as connectTcp, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';

/**
 * What an enemy, a broken client or a port scanner does to a replica. Each resolves with how often it hit: what was answered, refused or cut
 * by the replica, so that a siege which reached nobody does not count as survived.
 */
export interface Attack {
  /** `times`: how often, or how many at once. */
  run(target: Target, times: number): Promise<number>;
  /** As CI does it, and as a whole siege does. */
  brief: number;
  full: number;
}

export interface Target {
  host: string;
  port: number;
}

const METHODS = [
  '/muster.v1.WorkerService/Register',
  '/muster.v1.WorkerService/Ping',
  '/muster.v1.WorkerService/Report',
  '/muster.v1.WorkerService/Attach',
  '/muster.v1.JobService/Submit',
  '/muster.v1.JobService/SubmitJob',
  '/muster.v1.JobService/RunJob',
  '/muster.v1.JobService/Session',
  '/muster.v1.AdminService/ListWorkers',
  '/worker.WorkerService/Register',
  '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
];
const KIB = 1_024;
const MIB = KIB * KIB;
/** Under way at once, of calls that are answered. */
const ABREAST = 20;
const GIVE_UP_MS = 5_000;
const TRIES = 50;
const TRY_AGAIN_MS = 100;

/** Bytes that differ from call to call and are the same in each run. */
function noise(bytes: number, seed: number): Buffer {
  let x = seed + 1;
  return Buffer.from(
    Array.from({ length: bytes }, () => {
      x = (1_103_515_245 * x + 12_345) % 2 ** 31;
      return x >> 16;
    }),
  );
}

/** A gRPC message on the wire. `length`: what it says of itself. */
function message(body: Buffer, { compressed = false, length = body.length } = {}): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(compressed ? 1 : 0, 0);
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, body]);
}

function openHttp2({ host, port }: Target): Promise<ClientHttp2Session> {
  const session = connectHttp2(`http://${host}:${port}`);
  session.on('error', () => undefined);
  return new Promise((resolve, reject) => {
    session.once('connect', () => resolve(session));
    session.once('close', () => reject(new Error('no connection')));
  });
}

/** A connection that is open: that one, or another when the replica has closed it. */
async function still(session: ClientHttp2Session | undefined, target: Target): Promise<ClientHttp2Session> {
  for (let tries = 0; ; tries++) {
    if (session && !session.closed && !session.destroyed) return session;
    try {
      session = await openHttp2(target);
    } catch (error) {
      if (tries === TRIES) throw error;
      await hold(TRY_AGAIN_MS);
    }
  }
}

function openTcp({ host, port }: Target): Promise<Socket> {
  const socket = connectTcp(port, host);
  socket.on('error', () => undefined);
  return new Promise((resolve, reject) => {
    socket.once('connect', () => resolve(socket));
    socket.once('close', () => reject(new Error('no connection')));
  });
}

/** One call. Answers with its grpc-status, 'http <status>', or 'cut'. */
function call(session: ClientHttp2Session, path: string, body: Buffer, headers: Record<string, string> = {}): Promise<string> {
  return new Promise((resolve) => {
    let said = 'cut';
    const hear = (fields: Record<string, unknown>) => {
      if (fields['grpc-status'] !== undefined) said = String(fields['grpc-status']);
      else if (said === 'cut' && fields[':status'] !== 200) said = `http ${fields[':status']}`;
    };
    if (session.closed || session.destroyed) return resolve(said);
    const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers', ...headers });
    stream.on('response', hear);
    stream.on('trailers', hear);
    stream.on('error', () => undefined);
    stream.on('close', () => resolve(said));
    stream.setTimeout(GIVE_UP_MS, () => stream.close(constants.NGHTTP2_CANCEL));
    stream.resume();
    stream.end(body);
  });
}

/** So many calls, each of which the replica must refuse. `fresh`: each over a connection of its own. */
async function refused(
  target: Target,
  times: number,
  one: (session: ClientHttp2Session, n: number) => Promise<string>,
  fresh = false,
): Promise<number> {
  let hits = 0;
  let n = 0;
  const some = async () => {
    let session: ClientHttp2Session | undefined;
    while (n < times) {
      session = await still(session, target);
      const said = await one(session, n++);
      if (said !== '0') hits++;
      // Nobody reads the rest of a request that is refused: what it takes of the connection's window is not given back.
      if (fresh) session.destroy();
    }
    session?.destroy();
  };
  await Promise.all(Array.from({ length: ABREAST }, some));
  return hits;
}

const methodOf = (n: number): string => METHODS[n % METHODS.length] ?? '';
const hold = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const HELD_MS = 3_000;

const SETTINGS_FRAME = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
const PREFACE = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), SETTINGS_FRAME]);

/** An HTTP/2 frame's head. */
function frameHead(length: number, type: number, flags: number, stream: number): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return head;
}

async function withSockets(target: Target, times: number, use: (sockets: Socket[]) => Promise<void>): Promise<number> {
  const sockets: Socket[] = [];
  while (sockets.length < times)
    sockets.push(...(await Promise.all(Array.from({ length: Math.min(100, times - sockets.length) }, () => openTcp(target)))));
  await use(sockets);
  for (const socket of sockets) socket.destroy();
  return sockets.length;
}

export const ATTACKS = {
  /** Frames that are well-formed gRPC around bytes that are no message. */
  'malformed protobuf': {
    brief: 2_000,
    full: 50_000,
    run: (target, times) => refused(target, times, (session, n) => call(session, methodOf(n), message(noise(1 + (n % 200), n)))),
  },
  /** Groups in groups, as deep as a message may be long: who skips them by recursion runs out of stack. */
  'deep nesting': {
    brief: 50,
    full: 1_000,
    run: (target, times) => refused(target, times, (session, n) => call(session, methodOf(n), message(Buffer.alloc(200 * KIB, 0x0b)))),
  },
  /** Said to be gzip: noise, and zeros that come to 100 MiB. */
  'bad compressed frames': {
    brief: 100,
    full: 2_000,
    run: (target, times) => {
      const bomb = gzipSync(Buffer.alloc(100 * MIB));
      const body = (n: number) => message(n % 2 === 0 ? bomb : noise(500, n), { compressed: true });
      return refused(target, times, (session, n) => call(session, methodOf(n), body(n), { 'grpc-encoding': 'gzip' }));
    },
  },
  /** Says 4 GiB and sends little; says what it sends, 8 MiB. */
  'oversize messages': {
    brief: 60,
    full: 1_000,
    run: (target, times) => {
      const liar = message(Buffer.alloc(KIB), { length: 0xffff_ffff });
      const large = message(Buffer.alloc(8 * MIB));
      return refused(target, times, (session, n) => call(session, methodOf(n), n % 2 === 0 ? liar : large), true);
    },
  },
  /** Half of them speak HTTP/2 and then fall silent, half say nothing at all. */
  'idle connections': {
    brief: 2_000,
    full: 10_000,
    run: (target, times) =>
      withSockets(target, times, async (sockets) => {
        for (const socket of sockets.filter((_, i) => i % 2 === 0)) socket.write(PREFACE);
        await hold(HELD_MS);
      }),
  },
  /** A header block that never ends, a few bytes at a time. */
  'slow headers': {
    brief: 200,
    full: 2_000,
    run: (target, times) =>
      withSockets(target, times, async (sockets) => {
        for (const socket of sockets) socket.write(Buffer.concat([PREFACE, frameHead(16_000, 1, 0, 1)]));
        for (let n = 0; n < 10; n++) {
          for (const socket of sockets) socket.write(Buffer.from([0x40, 1, 0x61, 1]));
          await hold(HELD_MS / 10);
        }
      }),
  },
  /** As many streams as a connection gives, all of which say nothing and stay open. */
  'stream floods': {
    brief: 3_000,
    full: 20_000,
    run: async (target, times) => {
      const session = await openHttp2(target);
      let opened = 0;
      for (let n = 0; n < times && !session.closed; n++) {
        const path = n % 2 === 0 ? '/muster.v1.JobService/Session' : '/muster.v1.WorkerService/Attach';
        const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
        stream.on('error', () => undefined);
        opened++;
      }
      await hold(HELD_MS);
      session.destroy();
      return opened;
    },
  },
  /** Streams that are reset as soon as they are opened. */
  'rapid resets': {
    brief: 5_000,
    full: 100_000,
    run: async (target, times) => {
      let opened = 0;
      let session: ClientHttp2Session | undefined;
      while (opened < times) {
        const one = await still(session, target);
        session = one;
        const streams = Array.from({ length: 100 }, (_, i) => {
          const stream = one.request({ ':method': 'POST', ':path': methodOf(i), 'content-type': 'application/grpc', te: 'trailers' });
          stream.on('error', () => undefined);
          stream.close(constants.NGHTTP2_CANCEL);
          return stream;
        });
        opened += streams.length;
        await Promise.all(streams.map((stream) => (stream.closed ? undefined : once(stream, 'close'))));
      }
      session?.destroy();
      return opened;
    },
  },
} satisfies Record<string, Attack>;

export type AttackName = keyof typeof ATTACKS;
