import { isIPv4, isIPv6 } from 'node:net';

const TARGET = /^(?:(?:ipv4|ipv6|dns|unix):\S+|\[[0-9a-fA-F:.]+\]:\d{1,5}|[A-Za-z0-9.-]+:\d{1,5})$/;

/** May `connect` be given that? `host:port`, `ipv4:a:1,b:2`, `ipv6:[a]:1,…`, `dns:///host:port` or `unix:path`. */
export function isTarget(target: string): boolean {
  return TARGET.test(target);
}

/** The hosts that it names, without ports and brackets. */
export function hostsOf(target: string): string[] {
  if (/^unix:/.test(target)) return ['localhost'];
  // With a name server between the slashes, it is not this machine that knows what `localhost` is: the slashes stay.
  const addresses = target.replace(/^(?:ipv[46]:|dns:(?:\/\/\/)?)/, '').split(',');
  return addresses.map((address) => address.replace(/:\d{1,5}$/, '').replace(/^\[(.*)\]$/, '$1'));
}

/** Does everything that is sent there stay on this machine? In doubt not. */
export function isLoopback(target: string): boolean {
  return hostsOf(target).every((host) => {
    if (host === 'localhost') return true;
    return isIPv4(host) ? host.startsWith('127.') : isIPv6(host) && /^(?:0*:)*:?0*1$/.test(host);
  });
}
