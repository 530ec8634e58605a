import { accessSync, constants, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { delimiter, join } from 'node:path';
import { freePorts } from '../helpers/ports.js';
import { until } from '../helpers/until.js';
import type { Processes, Started } from './processes.js';

export const BALANCERS = ['nginx', 'haproxy'] as const;
export type BalancerName = (typeof BALANCERS)[number];

/** One replica, as a balancer must know it. */
export interface Endpoint {
  grpcPort: number;
  httpPort: number;
}

export interface Balancer {
  started: Started;
  /** `host:port` for workers and clients. */
  target: string;
}

const FILES = { nginx: 'nginx.conf', haproxy: 'haproxy.cfg' };
/** Where Debian has daemons, which is not on everybody's PATH. */
const DAEMONS = ['/usr/sbin', '/usr/local/sbin'];

/** The path of its binary; undefined when it is not installed. */
export function binaryOf(name: BalancerName): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== ''), ...DAEMONS];
  return folders
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/**
 * deploy/'s own configuration with addresses of the loopback in it. HAProxy's other form, by one name for all, asks the first one's port for
 * readiness. Throws when the file does not say what is to be replaced.
 */
export function configured(name: BalancerName, port: number, endpoints: readonly Endpoint[]): string {
  let text = readFileSync(new URL(`../../deploy/${FILES[name]}`, import.meta.url), 'utf8');
  const replace = (from: string, to: string) => {
    if (!text.includes(from)) throw new Error(`deploy/${FILES[name]}: "${from}" is not there`);
    text = text.replace(from, to);
  };
  const mine = name === 'nginx' ? ['listen 50050 http2;', `listen 127.0.0.1:${port} http2;`] : ['bind :50050 proto', `bind 127.0.0.1:${port} proto`];
  replace(mine[0] ?? '', mine[1] ?? '');
  const [first] = endpoints;
  if (name === 'haproxy' && first !== undefined) replace('"$REPLICAS" check port 8080', `"$REPLICAS" check port ${first.httpPort}`);
  endpoints.forEach(({ grpcPort, httpPort }, i) => {
    const server = `server ${name === 'haproxy' ? `muster-${i + 1} ` : ''}`;
    const health = name === 'haproxy' ? ' check port ' : '';
    replace(`${server}muster-${i + 1}:50051${health && `${health}8080`}`, `${server}127.0.0.1:${grpcPort}${health && `${health}${httpPort}`}`);
  });
  return text;
}

/** Starts it before those replicas, with that environment. Resolves when it takes connections. */
export async function startBalancer(
  name: BalancerName,
  processes: Processes,
  endpoints: readonly Endpoint[],
  folder: string,
  env: Record<string, string> = {},
): Promise<Balancer> {
  const binary = binaryOf(name);
  if (binary === undefined) throw new Error(`${name} is not on PATH`);
  const [port = 0] = await freePorts(1);
  const own = join(folder, name);
  mkdirSync(own);
  const file = join(own, FILES[name]);
  writeFileSync(file, configured(name, port, endpoints));
  const args = name === 'nginx' ? ['-p', own, '-e', 'stderr', '-c', file] : ['-db', '-f', file];
  const started = processes.program(name, binary, args, env);
  const answers = () => {
    if (!started.running()) throw new Error(`${name} ended:\n${started.output()}`);
    return takesConnections(port);
  };
  await until(answers, { what: `${name} on port ${port}` });
  return { started, target: `127.0.0.1:${port}` };
}

function takesConnections(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const answer = (taken: boolean) => {
      socket.destroy();
      resolve(taken);
    };
    socket.once('connect', () => answer(true)).once('error', () => answer(false));
  });
}
