import { open } from 'node:fs/promises';
import { usage } from './exit.js';
import type { Io } from './io.js';

export interface PayloadOptions {
  data?: string;
  file?: string;
}

/** What MAX_PAYLOAD_BYTES may be set to at the most; a replica usually takes less and says so. */
const PAYLOAD_MAX_BYTES = 16_777_216;

/** The payload from --data, --file or stdin (`-`); empty when none is named. */
export async function readPayload(options: PayloadOptions, stdin: string | undefined, io: Io): Promise<Buffer> {
  if (stdin !== undefined && stdin !== '-') throw usage(`${JSON.stringify(stdin)}: the payload is given with --data or --file; "-" reads stdin`);
  const sources = [options.data, options.file, stdin].filter((source) => source !== undefined);
  if (sources.length > 1) throw usage('only one of --data, --file and "-" can be the payload');
  if (options.data !== undefined) return bounded(Buffer.from(options.data), '--data');
  if (options.file !== undefined && options.file !== '-') return readFile(options.file, '--file');
  return sources.length === 0 ? Buffer.alloc(0) : readStream(io.stdin, 'stdin');
}

/** A whole file, named by an option. */
export async function readFile(path: string, option: string, maxBytes = PAYLOAD_MAX_BYTES): Promise<Buffer> {
  const file = await open(path).catch((error: NodeJS.ErrnoException) => {
    throw usage(`${option} ${path}: ${error.code === 'ENOENT' ? 'no such file' : error.message}`);
  });
  try {
    if ((await file.stat()).isDirectory()) throw usage(`${option} ${path}: is a directory`);
    return await readStream(file.createReadStream({ autoClose: false }), `${option} ${path}`, maxBytes);
  } finally {
    await file.close();
  }
}

export async function readStream(stream: AsyncIterable<Uint8Array>, name: string, maxBytes = PAYLOAD_MAX_BYTES): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of stream) {
    length += chunk.length;
    if (length > maxBytes) throw tooLarge(name, maxBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function bounded(payload: Buffer, name: string): Buffer {
  if (payload.length > PAYLOAD_MAX_BYTES) throw tooLarge(name, PAYLOAD_MAX_BYTES);
  return payload;
}

function tooLarge(name: string, maxBytes: number) {
  return usage(`${name}: more than ${maxBytes} bytes; hand over where it is instead of what it is`);
}
