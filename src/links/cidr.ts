import { BlockList, isIPv4 } from 'node:net';
import { canonicalIp } from '../domain/ip.js';
import type { Address } from '../domain/worker.js';

/** A network. */
export interface Block {
  text: string;
  base: string;
  prefix: number;
  list: BlockList;
}

/** A network, and ports in it. */
export interface Entry extends Block {
  fromPort: number;
  toPort: number;
}

/** The ip in its one spelling (`canonicalIp`). */
export function covers({ list }: Block, ip: string): boolean {
  return list.check(ip, isIPv4(ip) ? 'ipv4' : 'ipv6');
}

/** Takes the port, too. */
export function takes({ fromPort, toPort }: Entry, port: number): boolean {
  return fromPort <= port && port <= toPort;
}

export function blockOf(text: string, ip: string, prefix: number): Block {
  const base = canonicalIp(ip) ?? ip;
  const list = new BlockList();
  list.addSubnet(base, prefix, isIPv4(base) ? 'ipv4' : 'ipv6');
  return { text, base, prefix, list };
}

/** `ip`, `[ip]`, with /prefix, :port, :from-to each if wanted. A colon counts as a port's only after "]" or a prefix, or after an IPv4. */
const ENTRY =
  /^(?:\[(?<bracketed>[^[\]]+)\]|(?<v4>[0-9.]+)|(?<v6>[0-9A-Fa-f:.]+?)(?=\/|$))(?:\/(?<prefix>\d{1,3}))?(?::(?<from>\d{1,5})(?:-(?<to>\d{1,5}))?)?$/;

/**
 * `10.0.0.0/8`, `10.0.0.0/8:6000`, `10.0.0.0/8:6000-6100`, `[fd00::]/8:6000`, `fd00::/8`; without a prefix: that one address. Throws an Error
 * that names the setting and the entry.
 */
export function parseEntry(setting: string, text: string): Entry {
  const bad = (why: string) => new Error(`${setting}: "${text}" ${why}`);
  const parts = ENTRY.exec(text)?.groups;
  const ip = parts?.bracketed ?? parts?.v4 ?? parts?.v6 ?? '';
  const base = canonicalIp(ip);
  if (parts === undefined || base === undefined) throw bad('is no CIDR: write 10.0.0.0/8, 10.0.0.0/8:6000-6100 or [fd00::]/8:6000');
  if (isIPv4(base) && ip.includes(':')) throw bad(`wraps an IPv4 address: write ${base}`);
  const width = isIPv4(base) ? 32 : 128;
  const prefix = parts.prefix === undefined ? width : Number(parts.prefix);
  if (prefix > width) throw bad(`has a prefix over ${width}`);
  const fromPort = parts.from === undefined ? 1 : Number(parts.from);
  const toPort = parts.to === undefined ? (parts.from === undefined ? 65_535 : fromPort) : Number(parts.to);
  if (fromPort < 1 || toPort > 65_535 || fromPort > toPort) throw bad('has ports that are not 1 to 65535 in order');
  return { ...blockOf(text, base, prefix), fromPort, toPort };
}

/** Is that address in one of them? */
export function isAmong(entries: readonly Entry[], { ip, port }: Address): boolean {
  const known = canonicalIp(ip);
  return known !== undefined && entries.some((entry) => covers(entry, known) && takes(entry, port));
}
