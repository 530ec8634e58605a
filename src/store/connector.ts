import { connect as connectTcp, Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { AbstractConnector, type RedisOptions } from 'ioredis';
import type { HostPort } from '../domain/redis-url.js';
import type { MasterWatch } from './master-watch.js';

type Info = Readonly<Record<string, string | undefined>>;
type Emit = (type: string, error: Error) => void;
type Target = HostPort | { path: string };

export interface ConnectorHooks {
  /** Of Sentinels; undefined: the address in the options is the only one. */
  masters?: MasterWatch | undefined;
  /** What a server said of itself when it was found fit to be written to. */
  onMaster?: ((info: ReadonlyMap<string, string>) => void) | undefined;
}

/** Commands fail with it; it begins as Redis' own answer of a replica does. */
const NOT_MASTER = 'READONLY this Redis is a replica: it takes no writes';
/** By `redis_mode`: what a plain connection must not be used with. The table of errors says what to write instead. */
const OTHER_KINDS: Readonly<Record<string, string>> = {
  sentinel: 'ERR this is a Sentinel, no Redis',
  cluster: 'ERR this is a node of a Cluster',
};
/** While no master is known. */
const TELL_MS = 2_000;

/**
 * What ioredis connects by, for one Redis and for Sentinels. Two things it does that ioredis' own connectors do not: a server that is
 * a replica, or a Sentinel, never becomes ready, and is left for another try (behind one address another server may answer the next time);
 * and a connection by Sentinels ends at once when they name another master.
 */
export function connectorOf(hooks: ConnectorHooks): NonNullable<RedisOptions['Connector']> {
  return class extends MasterConnector {
    constructor(options: unknown) {
      super(options as RedisOptions, hooks);
    }
  };
}

class NoMaster extends Error {
  override readonly name = 'NoMaster';
  readonly code = 'NO_MASTER';
}

class MasterConnector extends AbstractConnector {
  readonly #options: RedisOptions;
  readonly #hooks: ConnectorHooks;
  #emit: Emit = () => undefined;
  #over = new AbortController();

  constructor(options: RedisOptions, hooks: ConnectorHooks) {
    super(options.disconnectTimeout ?? 0);
    this.#options = options;
    this.#hooks = hooks;
  }

  override async connect(emit: Emit): Promise<Socket> {
    this.#emit = emit;
    this.connecting = true;
    this.#over = new AbortController();
    const { masters } = this.#hooks;
    const master = masters && (await this.#master(masters));
    // ioredis takes a rejection for the end of all tries, and a socket that is closed for a reason to try again.
    if (!this.connecting || (masters && !master)) return new Socket().destroy();
    const socket = this.#open(master ?? this.#own());
    this.stream = socket;
    socket.once('error', (error) => {
      this.firstError = error;
    });
    if (masters && master)
      socket.once(
        'close',
        masters.attach(master, () => socket.destroy()),
      );
    return socket;
  }

  override check(info: Info): boolean {
    const { role, redis_mode: mode } = info;
    const other = OTHER_KINDS[mode ?? ''];
    if (other !== undefined) {
      this.#emit('error', new Error(other));
      return false;
    }
    if (role === 'slave') {
      this.#emit('error', new Error(NOT_MASTER));
      this.#hooks.masters?.doubt();
      return false;
    }
    this.#hooks.onMaster?.(new Map(Object.entries(info).flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]))));
    return true;
  }

  override disconnect(): void {
    this.#over.abort();
    super.disconnect();
  }

  /** Says now and then what it waits for. */
  async #master(masters: MasterWatch): Promise<HostPort | undefined> {
    const telling = setInterval(() => this.#emit('error', new NoMaster(masters.problem)), TELL_MS);
    telling.unref();
    try {
      return await masters.master(this.#over.signal);
    } finally {
      clearInterval(telling);
    }
  }

  #own(): Target {
    const { path, host = 'localhost', port = 6379 } = this.#options;
    return path ? { path } : { host, port };
  }

  #open(target: Target): Socket {
    const { family, tls } = this.#options;
    const at = { ...target, ...(family ? { family } : {}) };
    return tls ? connectTls({ ...at, ...(typeof tls === 'object' ? tls : {}) }) : connectTcp(at);
  }
}
