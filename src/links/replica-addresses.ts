import { networkInterfaces } from 'node:os';
import { canonicalIp } from '../domain/ip.js';
import { type Address, formatAddress, parseAddress } from '../domain/worker.js';
import { isLoopback } from './address-policy.js';

type Interfaces = () => Record<string, { address: string }[] | undefined>;

/**
 * Where the replicas of this fleet listen. Such an address is never a worker's: whoever registers it would have this replica call another, or
 * itself, with its own standing. Entries are `ip:port`; for the loopback of a host, which is another one on each, `host/loopback:port`.
 */
export class ReplicaAddresses {
  readonly #host: string;
  readonly #interfaces: Interfaces;
  readonly #listeners: Address[] = [];
  #known: ReadonlySet<string> = new Set();

  constructor(host: string, interfaces: Interfaces = networkInterfaces) {
    this.#host = host;
    this.#interfaces = interfaces;
  }

  /** This replica listens there. `at`: `host:port`, as settings have it; `port`: the one that it got. */
  listens(at: string, port: number): void {
    this.#listeners.push({ ip: parseAddress(at).ip, port });
    this.#known = new Set([...this.#known, ...this.own()]);
  }

  /** This replica's entries, as its interfaces are now. */
  own(): string[] {
    return [...new Set(this.#listeners.flatMap(({ ip, port }) => this.#expanded(ip).map((one) => this.#entry({ ip: one, port }))))];
  }

  /** The entries of all other replicas: those before count no more. */
  learn(others: readonly string[]): void {
    this.#known = new Set([...others, ...this.own()]);
  }

  has({ ip, port }: Address): boolean {
    return this.#known.has(this.#entry({ ip: canonicalIp(ip) ?? ip, port }));
  }

  /** A listener on no address in particular, or on a name, is reached by every interface of this host. */
  #expanded(ip: string): string[] {
    const canonical = canonicalIp(ip);
    if (canonical !== undefined && canonical !== '0.0.0.0' && canonical !== '::') return [canonical];
    const interfaces = Object.values(this.#interfaces()).flatMap((all = []) => all.map(({ address }) => address));
    return ['127.0.0.1', ...interfaces].flatMap((address) => canonicalIp(address.replace(/%.*$/, '')) ?? []);
  }

  #entry(address: Address): string {
    return isLoopback(address.ip) ? `${this.#host}/loopback:${address.port}` : formatAddress(address);
  }
}
