import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface ProbesOptions {
  host: string;
  port: number;
  /** The event loop answers: that is all that liveness asks. A replica without Redis must not be restarted for it. */
  ready: () => Promise<boolean>;
}

const HEADERS_TIMEOUT_MS = 5_000;

/** `/livez` and `/readyz` for kubelets and balancers. */
export class Probes {
  readonly #options: ProbesOptions;
  readonly #server: Server;

  constructor(options: ProbesOptions) {
    this.#options = options;
    this.#server = createServer({ headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: HEADERS_TIMEOUT_MS }, (request, response) => {
      const answer = (status: number, text: string) => response.writeHead(status, { 'content-type': 'text/plain' }).end(`${text}\n`);
      const path = request.url?.split('?')[0];
      if (path === '/livez') return answer(200, 'alive');
      if (path !== '/readyz') return answer(404, 'not found: /livez and /readyz are here');
      this.#options.ready().then(
        (ready) => answer(ready ? 200 : 503, ready ? 'ready' : 'not ready'),
        () => answer(503, 'not ready'),
      );
    });
    this.#server.maxConnections = 1000;
    this.#server.on('clientError', (_error, socket) => socket.destroy());
  }

  /** Answers with the port. Rejects when it is taken. */
  start(): Promise<number> {
    const { host, port } = this.#options;
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, host, () => {
        this.#server.off('error', reject);
        resolve((this.#server.address() as AddressInfo).port);
      });
    });
  }

  stop(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }
}
