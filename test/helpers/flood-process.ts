import { connect, type Socket } from 'node:net';
import { createSecureContext, type SecureContext, connect as tlsConnect } from 'node:tls';

/**
 * Makes many connections, some at once, none of which should get anywhere: a process of its own, so that its handshakes keep nobody waiting but
 * whom it knocks at. Its settings stand in FLOOD, as JSON. It says "flooded" when every connection was answered or cut off.
 */
export interface FloodSettings {
  port: number;
  connections: number;
  /** So many knock at once; those that say nothing wait for their end beside them. */
  atOnce: number;
  /** Taken in turn. */
  knocks: Knock[];
}

export interface Knock {
  /** Without: plaintext. */
  tls?: { cert?: string; key?: string };
  /** What it says after that; absent: nothing. */
  call?: { path: string; authorization?: string };
}

const DATA = 0;
const HEADERS = 1;
const SETTINGS = 4;
const END_STREAM = 1;
const END_HEADERS = 4;
const FRAME_HEADER = 9;

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(FRAME_HEADER);
  header.writeUIntBE(payload.length, 0, 3);
  header.writeUInt8(type, 3);
  header.writeUInt8(flags, 4);
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

/** HPACK, without its tables: a literal's length, in seven bits and as many bytes more as it takes. */
function literal(text: string): Buffer {
  const length: number[] = text.length < 127 ? [text.length] : [127];
  for (let rest = text.length - 127; length[0] === 127; rest >>>= 7) {
    length.push(rest >= 128 ? (rest & 127) | 128 : rest);
    if (rest < 128) break;
  }
  return Buffer.concat([Buffer.from(length), Buffer.from(text)]);
}

/** What a client says that connects for one call: a message is announced and never comes. An HTTP/2 client a connection would be most of the load. */
function hello({ path, authorization }: NonNullable<Knock['call']>): Buffer {
  const fields = { ':path': path, ':authority': 'test', 'content-type': 'application/grpc', te: 'trailers', ...(authorization && { authorization }) };
  const block = Object.entries(fields).flatMap(([name, value]) => [Buffer.from([0]), literal(name), literal(value)]);
  return Buffer.concat([
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    frame(SETTINGS, 0, 0, Buffer.alloc(0)),
    // :method POST and :scheme http, of the static table.
    frame(HEADERS, END_HEADERS, 1, Buffer.concat([Buffer.from([0x83, 0x86]), ...block])),
    frame(DATA, END_STREAM, 1, Buffer.from([0, 0, 0, 0, 9])),
  ]);
}

/** 'answered': by headers that end the call, a status and no message. 'cut': closed by the other side without that. */
function knock(socket: Socket, bytes: Buffer | undefined): Promise<'answered' | 'cut'> {
  return new Promise((resolve) => {
    let rest = Buffer.alloc(0);
    socket.on('error', () => undefined).on('close', () => resolve('cut'));
    socket.on('data', (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      while (rest.length >= FRAME_HEADER && rest.length >= FRAME_HEADER + rest.readUIntBE(0, 3)) {
        const [type, flags, stream] = [rest.readUInt8(3), rest.readUInt8(4), rest.readUInt32BE(5)];
        if (type === HEADERS && stream === 1 && (flags & END_STREAM) !== 0) {
          resolve('answered');
          return socket.destroy();
        }
        rest = rest.subarray(FRAME_HEADER + rest.readUIntBE(0, 3));
      }
    });
    if (bytes) socket.write(bytes);
  });
}

const { port, connections, atOnce, knocks } = JSON.parse(process.env['FLOOD'] ?? '{}') as FloodSettings;
const ready = knocks.map(({ tls, call }) => ({ context: tls && createSecureContext(tls), bytes: call && hello(call) }));

function open(context: SecureContext | undefined): Socket {
  const where = { port, host: '127.0.0.1' };
  if (context === undefined) return connect(where);
  return tlsConnect({ ...where, secureContext: context, servername: 'localhost', rejectUnauthorized: false, ALPNProtocols: ['h2'] });
}

const ends = { answered: 0, cut: 0 };
const silent: Promise<void>[] = [];
let next = 0;
async function lane(): Promise<void> {
  for (let i = next++; i < connections; i = next++) {
    const { context, bytes } = ready[i % ready.length] ?? {};
    const over = knock(open(context), bytes).then((how) => {
      ends[how]++;
    });
    if (bytes) await over;
    else silent.push(over);
  }
}

await Promise.all(Array.from({ length: atOnce }, lane));
await Promise.all(silent);
process.stdout.write(`${JSON.stringify({ msg: 'flooded', ...ends })}\n`);
