export interface HostPort {
  host: string;
  port: number;
}

interface Access {
  username: string | undefined;
  password: string | undefined;
  tls: boolean;
}

/** Where a Redis is that Sentinels know by a name. User and password are for Redis itself: the Sentinels are asked without. TLS is for both. */
export interface SentinelTarget extends Access {
  kind: 'sentinel';
  sentinels: HostPort[];
  /** Of the master, as the Sentinels have it. */
  name: string;
  db: number;
}

/** A Redis Cluster: some of its nodes, which know the others. */
export interface ClusterTarget extends Access {
  kind: 'cluster';
  nodes: HostPort[];
}

/** One Redis, whose URL its client reads. */
export interface SingleTarget {
  kind: 'single';
  url: string;
  /** undefined: it is a socket in the file system. */
  node: HostPort | undefined;
  tls: boolean;
}

export type RedisTarget = SingleTarget | SentinelTarget | ClusterTarget;

const SINGLE = 'redis://[[user]:password@]host[:port][/db], or rediss:// for TLS';
const SENTINEL = 'redis+sentinel://[[user]:password@]host[:port][,host[:port]…]/master[/db]';
const CLUSTER = 'redis+cluster://[[user]:password@]host[:port][,host[:port]…]';
const SENTINEL_PORT = 26_379;
const REDIS_PORT = 6_379;
/** Scheme, user and password, hosts, and what follows. */
const FORM = /^(rediss?)\+(sentinel|cluster):\/\/(?:([^@/]*)@)?([^@/?#]+)(.*)$/;

/**
 * `redis://…` (one Redis), or one of the two forms above; `rediss` instead of `redis` for TLS.
 * Throws Error for what cannot be read; its message has no password.
 */
export function parseRedisUrl(url: string): RedisTarget {
  const [, base, kind] = /^(\w+)\+(\w+):/.exec(url) ?? [];
  if (kind === undefined) return parseSingle(url);
  if (!/^rediss?$/.test(base ?? '') || (kind !== 'sentinel' && kind !== 'cluster')) {
    throw new Error(`${base}+${kind}:// is none of redis://, redis+sentinel://, redis+cluster://, nor one of them with rediss`);
  }
  const [, scheme, , user = '', hosts = '', rest = ''] = FORM.exec(url) ?? [];
  const wrong = () => new Error(`not of the form ${kind === 'sentinel' ? SENTINEL : CLUSTER}`);
  const nodes = hosts.split(',').map((host) => parseHost(host, kind === 'sentinel' ? SENTINEL_PORT : REDIS_PORT));
  if (scheme === undefined || nodes.includes(undefined)) throw wrong();
  const known = nodes.filter((node) => node !== undefined);
  const access = { ...parseUser(user), tls: scheme === 'rediss' };
  if (kind === 'cluster') {
    if (rest !== '' && rest !== '/') throw new Error(`${wrong().message}: a Cluster has no databases`);
    return { kind, nodes: known, ...access };
  }
  const [, name, db = '0'] = /^\/([^/?#]+)(?:\/(\d+))?$/.exec(rest) ?? [];
  if (name === undefined) throw wrong();
  return { kind, sentinels: known, name: decodeURIComponent(name), db: Number(db), ...access };
}

function parseSingle(url: string): SingleTarget {
  if (/^(\/|unix:)/.test(url)) return { kind: 'single', url, node: undefined, tls: false };
  const parsed = /^rediss?:\/\//.test(url) && URL.canParse(url) ? new URL(url) : undefined;
  if (!parsed || parsed.hostname === '') throw new Error(`not of the form ${SINGLE}`);
  const { protocol, hostname, port, pathname } = parsed;
  if (!/^\/?\d*$/.test(pathname)) throw new Error(`${pathname.slice(1)} is not the number of a database: ${SINGLE}`);
  const node = { host: hostname.replace(/^\[|\]$/g, ''), port: port === '' ? REDIS_PORT : Number(port) };
  return { kind: 'single', url, node, tls: protocol === 'rediss:' };
}

/** Whom Redis takes us for. */
export function redisUser(url: string): string {
  const [, user = ''] = /^[\w+]+:\/\/([^:@/]*)(?::[^@/]*)?@/.exec(url) ?? [];
  return user === '' ? 'default' : decodeURIComponent(user);
}

function parseUser(text: string): { username: string | undefined; password: string | undefined } {
  const [username = '', ...rest] = text.split(':');
  return {
    username: username === '' ? undefined : decodeURIComponent(username),
    password: rest.length === 0 ? undefined : decodeURIComponent(rest.join(':')),
  };
}

/** `host`, `host:port`, `[v6]` or `[v6]:port`. */
function parseHost(text: string, usual: number): HostPort | undefined {
  const [, v6, name, port = String(usual)] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = v6 ?? name;
  if (host === undefined || Number(port) < 1 || Number(port) > 65_535) return undefined;
  return { host, port: Number(port) };
}
