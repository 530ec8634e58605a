import { createServer } from 'node:net';

/** Below those that systems give to whoever connects outward: between our look and the bind nobody gets one by chance. */
const LOWEST = 12_000;
const HIGHEST = 32_000;
const TRIES = 200;
const given = new Set<number>();

/** So many different ports of the loopback that nobody uses now. None is given twice by one process. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  for (let tries = 0; ports.length < count; tries++) {
    if (tries === TRIES + count) throw new Error(`no ${count} free ports from ${LOWEST} to ${HIGHEST}`);
    const port = LOWEST + Math.floor(Math.random() * (HIGHEST - LOWEST));
    if (given.has(port) || !(await isFree(port))) continue;
    given.add(port);
    ports.push(port);
  }
  return ports;
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
