/** Where a Redis is that Sentinels know by a name. */
export interface SentinelTarget {
  sentinels: { host: string; port: number }[];
  /** Of the master, as the Sentinels have it. */
  name: string;
  db: number;
  /** For Redis itself; the Sentinels are asked without. */
  username: string | undefined;
  password: string | undefined;
  /** To the Sentinels and to Redis. */
  tls: boolean;
}

const FORM = /^(redis|rediss)\+sentinel:\/\/(?:([^@/]*)@)?([^@/]+)\/([^/?#]+)(?:\/(\d+))?$/;
const SCHEME = /^rediss?\+sentinel:/;
const PORT = 26_379;

/**
 * `redis+sentinel://[[user]:password@]host[:port][,host[:port]…]/master[/db]`, or `rediss+sentinel://`. undefined: it is the URL of one Redis.
 * Throws Error for a Sentinel form that cannot be read; its message has no password.
 */
export function parseSentinelUrl(url: string): SentinelTarget | undefined {
  if (!SCHEME.test(url)) return undefined;
  const [, scheme, user = '', hosts = '', name = '', db = '0'] = FORM.exec(url) ?? [];
  const sentinels = hosts.split(',').map(parseHost);
  if (scheme === undefined || sentinels.includes(undefined)) {
    throw new Error('not of the form redis+sentinel://[[user]:password@]host[:port][,host[:port]…]/master[/db]');
  }
  const [username = '', ...rest] = user.split(':');
  return {
    sentinels: sentinels.filter((one) => one !== undefined),
    name: decodeURIComponent(name),
    db: Number(db),
    username: username === '' ? undefined : decodeURIComponent(username),
    password: rest.length === 0 ? undefined : decodeURIComponent(rest.join(':')),
    tls: scheme === 'rediss',
  };
}

/** `host`, `host:port`, `[v6]` or `[v6]:port`. */
function parseHost(text: string): { host: string; port: number } | undefined {
  const [, v6, name, port = String(PORT)] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = v6 ?? name;
  if (host === undefined || Number(port) < 1 || Number(port) > 65_535) return undefined;
  return { host, port: Number(port) };
}
