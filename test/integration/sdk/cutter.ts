import { createServer, connect as dial, type Socket } from 'node:net';
import { afterAll } from 'vitest';

/** A TCP relay before a replica whose connections can be cut, as a network does it: without a word to either side. */
export interface Cutter {
  target: string;
  /** Breaks every connection; new ones are taken. */
  cut(): void;
  /** Nothing is passed on, and no connection ends: as a process that hangs behind a proxy. */
  hold(on: boolean): void;
  /** New connections are closed at once. */
  refuse(on: boolean): void;
  /** Breaks every connection and listens no longer. */
  close(): void;
}

const all: Cutter[] = [];

export async function cutter(target: string): Promise<Cutter> {
  const colon = target.lastIndexOf(':');
  const open = new Set<Socket>();
  const pairs = new Map<Socket, Socket>();
  let refusing = false;
  let holding = false;
  const server = createServer((near) => {
    if (refusing) return near.destroy();
    const far = dial(Number(target.slice(colon + 1)), target.slice(0, colon));
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(from);
      pairs.set(from, to);
      from.on('error', () => undefined);
      from.on('close', () => {
        open.delete(from);
        pairs.delete(from);
        to.destroy();
      });
      from.pipe(to);
      if (holding) from.unpipe(to).pause();
    }
    return undefined;
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const cut = () => {
    for (const socket of open) socket.destroy();
  };
  const close = () => {
    cut();
    server.close();
  };
  const hold = (on: boolean) => {
    holding = on;
    for (const [from, to] of pairs) {
      if (on) from.unpipe(to).pause();
      else from.pipe(to);
    }
  };
  const refuse = (on: boolean) => {
    refusing = on;
  };
  const made = { target: `127.0.0.1:${port}`, cut, hold, refuse, close };
  all.push(made);
  return made;
}

afterAll(() => {
  for (const each of all.splice(0)) each.close();
});
