import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface ProbesOptions {
  /** `ip:port`, IPv6 in brackets. */
  address: string;
  /** The event loop answers: that is all that liveness asks. A replica without Redis must not be restarted for it. */
  ready: () => Promise<boolean>;
  /** For a scraper: text, and of which type. */
  metrics: () => Promise<{ type: string; text: string }>;
}

const HEADERS_TIMEOUT_MS = 5_000;
/**
 * For HAProxy, which reads a 404 as "alive, and to be given nothing new" (`http-check disable-on-404`), and every other failure as "dead". Without
 * the difference it could not end the streams of a dead replica, because it would end those of a stopping one too.
 */
const NOT_READY_404 = 'not_ready=404';

/** `/livez` and `/readyz` for kubelets and balancers, `/metrics` for Prometheus. */
export class Probes {
  readonly #options: ProbesOptions;
  readonly #server: Server;

  constructor(options: ProbesOptions) {
    this.#options = options;
    this.#server = createServer({ headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: HEADERS_TIMEOUT_MS }, (request, response) => {
      const answer = (status: number, text: string) => response.writeHead(status, { 'content-type': 'text/plain' }).end(`${text}\n`);
      const [path, query] = request.url?.split('?') ?? [];
      if (path === '/livez') return answer(200, 'alive');
      if (path === '/metrics') return void this.#metrics(response);
      if (path !== '/readyz') return answer(404, 'not found: /livez, /readyz and /metrics are here');
      const notReady = query === NOT_READY_404 ? 404 : 503;
      this.#options.ready().then(
        (ready) => answer(ready ? 200 : notReady, ready ? 'ready' : 'not ready'),
        () => answer(notReady, 'not ready'),
      );
    });
    this.#server.maxConnections = 1000;
    this.#server.on('clientError', (_error, socket) => socket.destroy());
  }

  /** Answers with the port. Rejects when it is taken. */
  start(): Promise<number> {
    const { host, port } = hostPort(this.#options.address);
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, host, () => {
        this.#server.off('error', reject);
        resolve((this.#server.address() as AddressInfo).port);
      });
    });
  }

  async #metrics(response: ServerResponse): Promise<void> {
    try {
      const { type, text } = await this.#options.metrics();
      response.writeHead(200, { 'content-type': type }).end(text);
    } catch {
      response.writeHead(500, { 'content-type': 'text/plain' }).end('the metrics could not be read\n');
    }
  }

  stop(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }
}

function hostPort(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(':');
  return { host: address.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(address.slice(colon + 1)) };
}
