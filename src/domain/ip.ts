import { isIPv4, isIPv6, SocketAddress } from 'node:net';

const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/;

/**
 * The one spelling of an IP literal: IPv4 in dotted decimal, also for IPv6 forms that only wrap one (`::ffff:10.0.0.5`, `::ffff:a00:5`), other
 * IPv6 as in RFC 5952. Undefined for what is no literal, and for one with a zone, which means something on one machine only.
 */
export function canonicalIp(ip: string): string | undefined {
  if (isIPv4(ip)) return ip;
  if (!isIPv6(ip) || ip.includes('%')) return undefined;
  const { address } = new SocketAddress({ address: ip, family: 'ipv6' });
  return MAPPED.exec(address)?.[1] ?? address;
}
