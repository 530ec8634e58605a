import type { Readable, Writable } from 'node:stream';

/** All that the program touches of its process. Tests hand in their own. */
export interface Io {
  /** Results; raw bytes too. Resolves when they were taken. */
  out(chunk: string | Uint8Array): Promise<void>;
  /** The story: one line, without its end. */
  tell(line: string): void;
  stdin: AsyncIterable<Uint8Array>;
  env: Record<string, string | undefined>;
  /** May results be coloured? */
  colours: boolean;
  /** Wall time in ms since 1970. */
  now(): number;
  /** Calls it when the user wants to stop; returns what takes that back. */
  onInterrupt(listener: () => void): () => void;
}

export function processIo(): Io {
  const { stdin, stdout, stderr, env } = process;
  for (const stream of [stdout, stderr]) stream.on('error', endQuietly);
  return {
    out: (chunk) => write(stdout, chunk),
    tell: (line) => void stderr.write(`${line}\n`),
    stdin: stdin as Readable & AsyncIterable<Uint8Array>,
    env,
    colours: stdout.isTTY === true && env['NO_COLOR'] === undefined && env['TERM'] !== 'dumb',
    now: () => Date.now(),
    onInterrupt: (listener) => {
      process.once('SIGINT', listener).once('SIGTERM', listener);
      return () => void process.off('SIGINT', listener).off('SIGTERM', listener);
    },
  };
}

function write(stream: Writable, chunk: string | Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(chunk, (error) => (error ? reject(error) : resolve()));
  });
}

/** Whoever reads us (`| head`) has seen enough. */
function endQuietly(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
}
