import { isIP } from 'node:net';
import { connect } from 'node:tls';
import type { HostPort } from '../domain/redis-url.js';
import type { RedisTls } from './redis.js';

/**
 * What stands in the way of TLS at that address; undefined: nothing, or nobody is there. ioredis tells it of one Redis; of Sentinels, and of the nodes of
 * a Cluster, it says no more than that the connection was closed. `timeoutMs`: for an answer.
 */
export function probeTls({ host, port }: HostPort, tls: RedisTls, timeoutMs: number): Promise<Error | undefined> {
  return new Promise((resolve) => {
    const name = isIP(host) ? {} : { servername: host };
    const socket = connect({ host, port, ...name, ...tls });
    const end = (error?: Error) => {
      socket.destroy();
      resolve(error);
    };
    socket.setTimeout(timeoutMs, () => end());
    socket.once('error', end);
    socket.once('close', () => end());
    // Whether our certificate is taken is known when there is an answer, whatever it says.
    socket.once('data', () => end());
    socket.once('secureConnect', () => socket.write('PING\r\n'));
  });
}
