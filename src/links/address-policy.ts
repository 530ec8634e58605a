import { invalid, MusterError } from '../domain/errors.js';
import { canonicalIp } from '../domain/ip.js';
import { type Address, formatAddress } from '../domain/worker.js';
import { type Block, blockOf, covers, type Entry, parseEntry, takes } from './cidr.js';

/**
 * Which addresses replicas may dial. A worker names its own address, so without this anyone who may register can make replicas connect
 * to whatever they reach. Pure.
 *
 * An address of a special block is refused unless an entry of `allow` lies within that block: `0.0.0.0/0` opens the ordinary internet,
 * not the metadata service. Of the rest, `allow` decides; without `allow` the address must be the one that the worker called from.
 */
export interface DialPolicyOptions {
  /** Loopback workers are allowed, whoever registers them. */
  insecure: boolean;
  /** As `parseEntry` takes them. */
  allow: string[];
  /** Where replicas listen: never a worker's address. */
  replicas?: { has(address: Address): boolean };
}

interface Special {
  what: string;
  block: Block;
}

const SPECIAL: readonly Special[] = [
  special('unspecified', '0.0.0.0/8'),
  special('loopback', '127.0.0.0/8'),
  special('link-local', '169.254.0.0/16'),
  special('multicast', '224.0.0.0/4'),
  special('broadcast or reserved', '240.0.0.0/4'),
  special('cloud metadata', '100.100.100.200/32'),
  special('cloud metadata', '168.63.129.16/32'),
  special('cloud metadata', 'fd00:ec2::254/128'),
  special('unspecified', '::/128'),
  special('loopback', '::1/128'),
  special('IPv4-compatible', '::/96'),
  special('IPv4-translated', '::ffff:0:0:0/96'),
  special('NAT64', '64:ff9b::/96'),
  special('NAT64', '64:ff9b:1::/48'),
  special('Teredo', '2001::/32'),
  special('6to4', '2002::/16'),
  special('link-local', 'fe80::/10'),
  special('site-local', 'fec0::/10'),
  special('multicast', 'ff00::/8'),
];

export class DialPolicy {
  readonly #insecure: boolean;
  readonly #allow: Entry[];
  readonly #replicas: DialPolicyOptions['replicas'];

  /** Throws an Error that names the entry that cannot be read. */
  constructor({ insecure, allow, replicas }: DialPolicyOptions) {
    this.#insecure = insecure;
    this.#replicas = replicas;
    this.#allow = allow.map((entry) => parseEntry('DIAL_ALLOW', entry));
  }

  /**
   * May a worker that calls from `peerIp` be dialed at `address`? Throws invalid_argument for what is no address, permission_denied
   * ADDRESS_REFUSED otherwise. An unknown peer is no peer: without `allow` it is refused.
   */
  check(address: Address, peerIp: string | undefined): void {
    const ip = this.#judge(address);
    if (this.#allow.length > 0 || this.#freeLoopback(ip)) return;
    const peer = peerIp === undefined ? undefined : canonicalIp(peerIp.replace(/%.*$/, ''));
    if (peer === ip) return;
    const from = peer === undefined ? 'an unknown address' : peer;
    throw refused(
      address,
      `the call came from ${from}, and without DIAL_ALLOW a worker is dialed only where it calls from; name its network in DIAL_ALLOW (behind a load balancer that ends connections it must be set)`,
    );
  }

  /** The same for an address that was accepted at registration, asked again when it is dialed: the caller's address is not known any more. */
  recheck(address: Address): void {
    this.#judge(address);
  }

  /** Everything but the peer rule. Returns the address in its one spelling. */
  #judge(address: Address): string {
    const ip = canonicalIp(address.ip);
    if (ip === undefined) throw invalid('ip', 'must be an IP literal such as 10.1.2.3 or fd00::7; names, zones and other notations are not taken');
    if (!Number.isInteger(address.port) || address.port < 1 || address.port > 65_535) throw invalid('port', 'must be 1 to 65535');
    if (this.#replicas?.has({ ip, port: address.port })) {
      throw refused(address, 'a replica of this fleet listens there: register the address of the worker itself');
    }
    if (this.#freeLoopback(ip)) return ip;
    const entries = this.#allow.filter((entry) => covers(entry, ip));
    const open = entries.filter((entry) => takes(entry, address.port));
    for (const { what, block } of SPECIAL) {
      if (!covers(block, ip) || open.some((entry) => entry.prefix >= block.prefix)) continue;
      const name = `name ${block.text} or a part of it, and the port, in DIAL_ALLOW`;
      const remedy = what === 'loopback' ? `set INSECURE, or ${name}` : name;
      throw refused(address, `it is a ${what} address; if that is meant, ${remedy}`);
    }
    if (this.#allow.length > 0 && open.length === 0) {
      throw refused(address, entries.length > 0 ? 'DIAL_ALLOW names its network, but not that port' : 'name its network in DIAL_ALLOW');
    }
    return ip;
  }

  #freeLoopback(ip: string): boolean {
    return this.#insecure && isLoopback(ip);
  }
}

/** `ip` in its one spelling. */
export function isLoopback(ip: string): boolean {
  return SPECIAL.some(({ what, block }) => what === 'loopback' && covers(block, ip));
}

function refused(address: Address, why: string): MusterError {
  return new MusterError('permission_denied', 'ADDRESS_REFUSED', `${formatAddress(address)} may not be dialed: ${why}`);
}

function special(what: string, cidr: string): Special {
  const [ip = '', prefix] = cidr.split('/');
  return { what, block: blockOf(cidr, ip, Number(prefix)) };
}
