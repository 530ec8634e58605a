import { readFileSync } from 'node:fs';

/**
 * The kernel's timer of the IPv4 socket at that local and remote port: '02' is keepalive, while nothing is under way; undefined: no such
 * socket. Linux only.
 */
export function timerOf(local: number, remote: number): string | undefined {
  const hex = (port: number) => port.toString(16).toUpperCase().padStart(4, '0');
  const lines = readFileSync('/proc/net/tcp', 'utf8').split('\n');
  const line = lines.find((text) => new RegExp(`^\\s*\\d+: [0-9A-F]{8}:${hex(local)} [0-9A-F]{8}:${hex(remote)} `).test(text));
  return line?.trim().split(/\s+/)[5]?.slice(0, 2);
}
