import { z } from 'zod';
import { LONGEST_TIMER_MS } from './domain/clock.js';
import { parseFailpoint } from './domain/failpoints.js';
import { parseRedisUrl } from './domain/redis-url.js';
import { parseRolePattern } from './domain/san.js';

/**
 * Every limit, timeout and address, in one schema. Read from `MUSTER_<NAME>`; printed by `muster config`.
 * Times are ms and end in _MS; sizes are bytes and end in _BYTES.
 */
const ms = (fallback: number, about: string, min = 1) => z.coerce.number().int().min(min).max(LONGEST_TIMER_MS).default(fallback).describe(about);
/** What Redis keeps time of, up to a year. What becomes a timer in this process, or in a library that counts in 32 bits, is at most 24 days. */
const span = (fallback: number, about: string) => z.coerce.number().int().min(1).max(31_536_000_000).default(fallback).describe(about);
const count = (fallback: number, about: string, min = 1, max = 1_000_000_000) =>
  z.coerce.number().int().min(min).max(max).default(fallback).describe(about);
const text = (fallback: string, about: string) => z.string().default(fallback).describe(about);
const flag = (about: string) =>
  z
    .union([z.boolean(), z.enum(['true', 'false', '1', '0', ''])])
    .default(false)
    .transform((value) => value === true || value === 'true' || value === '1')
    .describe(about);
const list = (about: string, fallback: string[] = []) =>
  z
    .union([z.array(z.string()), z.string()])
    .default(fallback)
    .transform((value) =>
      Array.isArray(value)
        ? value
        : value
            .split(',')
            .map((item) => item.trim())
            .filter((item) => item !== ''),
    )
    .describe(about);

export const fields = {
  REDIS_URL: text(
    'redis://127.0.0.1:6379',
    'Where the truth is: redis://[user:password@]host:port; redis+sentinel://host:port,host:port/master[/db] by Sentinels; ' +
      'redis+cluster://host:port,host:port for a Cluster; rediss instead of redis for TLS',
  ),
  REDIS_CA: text('', 'PEM file: the authority that signs the certificates of Redis (and Sentinels); empty: those that Node trusts'),
  REDIS_CERT: text('', 'PEM file: our certificate, where Redis wants one'),
  REDIS_KEY: text('', 'PEM file: the key of REDIS_CERT'),
  REDIS_SERVER_NAME: text('', 'The name in the certificates of Redis, where it is not the host of REDIS_URL'),
  REDIS_TIMEOUT_MS: ms(800, 'A call to Redis without an answer by then has an unknown outcome'),
  DURABILITY: z
    .enum(['fast', 'durable'])
    .default('fast')
    .describe('What is relied on. fast: appendfsync everysec, else a warning; durable: appendfsync always, else it does not start'),
  DURABILITY_UNCHECKED: flag('Start with DURABILITY=durable on a Redis that does not tell how it keeps its data: you have seen to it yourself'),
  GRPC_ADDR: text('0.0.0.0:50051', 'Where gRPC is served; with INSECURE the default is 127.0.0.1:50051'),
  HTTP_ADDR: text(
    '0.0.0.0:8080',
    'Where /livez, /readyz and /metrics are served; empty: nowhere, and nothing is counted; with INSECURE the default is 127.0.0.1:8080',
  ),
  METRICS_CACHE_MS: ms(5_000, 'The metrics of pools are read from Redis at a scrape, and not again for so long'),
  METRICS_POOLS: count(100, 'So many pools, the first by name, have metrics of their own', 0, 1_000),
  LEGACY_ADDR: text('', 'A plaintext listener for the first contract alone; empty: none'),
  LEGACY_POOL: text('default', 'The pool of workers that register by the first contract'),
  REPLICA_ADDR: text('', 'What others are told of this replica; empty: the host name and the port of GRPC_ADDR'),
  TLS_CERT: text('', "PEM file: this replica's certificate and what is between it and its authority; read again when it changes"),
  TLS_KEY: text('', "PEM file: that certificate's key; read again when it changes"),
  TLS_CLIENT_CA: text('', "PEM file: who signs clients' certificates, which are asked for then; read again when it changes"),
  TLS_ROLES: list("The roles of clients' certificates: role=pattern of a SAN, * is one label or segment; the first that fits decides", [
    'worker=URI:muster:worker:*',
    'client=URI:muster:client:*',
    'admin=URI:muster:admin:*',
  ]),
  TLS_RELOAD_MS: ms(5_000, 'How often the files of certificates are looked at'),
  TLS_HANDSHAKE_MS: ms(10_000, 'A TLS handshake that takes longer is cut off'),
  TLS_TERMINATED: flag('A proxy ends TLS before this replica: tokens are taken in plaintext'),
  TOKENS_FILE: text('', 'A line a token: role name sha256:HEX [pools=a,b]; see `muster token create`; read again when it changes'),
  TOKENS_RELOAD_MS: ms(5_000, 'How often the file of tokens is looked at'),
  QUOTA_STREAMS: count(0, 'Attach, Session and other streams that one identity may have open at a replica; 0: any number', 0),
  QUOTA_SUBMISSIONS: count(0, 'Jobs that one identity may submit a second, and at once, at a replica; 0: any number', 0),
  QUOTA_WAITING: count(0, 'Jobs of one identity that have not ended, of those that a replica took; each replica counts its own; 0: any number', 0),
  QUOTA_POOLS: count(100, 'Pools that one identity may have made, of those there are; admins are not counted; 0: any number', 0),
  HEALTH_INTERVAL_MS: ms(10_000, 'How often every worker is looked at'),
  PING_TIMEOUT_MS: ms(3_000, 'How long a worker may take to answer a probe'),
  PING_MISSES: count(2, 'So many missed probes make a worker suspect'),
  LEASE_MS: ms(30_000, 'A delivered lease that nobody vouches for so long is taken away'),
  BEAT_MS: ms(10_000, 'How often a home vouches for the leases of its workers'),
  HOME_BEAT_MS: ms(2_000, 'How often a replica says that it lives'),
  DELIVERY_MS: ms(5_000, 'A fresh lease must be delivered by then'),
  CONFIRM_MS: ms(1_000, 'How often the deliveries of jobs that still run are confirmed'),
  ACCEPT_AGE_MS: ms(4_000, 'An assignment older than that is asked for again before it is sent'),
  HOME_TTL_MS: ms(6_000, 'A replica not heard for so long is dead'),
  TICK_MS: ms(500, 'How often what is due by the clock is looked for'),
  TICK_STALE_MS: ms(5_000, 'A gap between ticks that counts as an outage'),
  OUTAGE_GRACE_MS: ms(15_000, 'After an outage nothing expires and nobody dies for so long'),
  REATTACH_GRACE_MS: ms(15_000, 'An attached worker whose stream is gone is dead unless it attaches again by then'),
  RESET_GRACE_MS: ms(
    3_000,
    'The same where its host closed the stream without a word, as it does for a killed process, unless most other streams broke with it',
  ),
  MAX_UNSETTLED: count(1_024, 'So many results of one attached worker may wait for their settlement'),
  SETTLE_MS: ms(1_000, "The settlement of an attached worker's result waits so long for others, or for its next job, to go along with"),
  SESSION_WINDOW: count(1_024, 'So many jobs of one session may be under way'),
  CHECK_TAKE_MS: ms(5_000, 'A check that no other replica took by then is done by the home itself'),
  WAIT_REREAD_MS: ms(5_000, 'A waiter reads again what it waits for'),
  QUARANTINE_MAX_MS: ms(60_000, 'The end of the quarantine of a METHOD worker, which cannot say that it is idle'),
  LOOP_LAG_MAX_MS: ms(500, 'A replica whose event loop lags more does not judge workers'),
  CONNECTION_AGE_MS: ms(300_000, 'A client connection is asked to renew itself after so long'),
  PREFACE_MS: ms(10_000, 'A connection on which HTTP/2 has not begun by then, after TLS if there is any, is cut off'),
  STOP_GRACE_MS: ms(25_000, 'What is under way may take so long when a replica stops'),
  STOP_LEAD_MS: ms(2_000, 'Between "not ready" and refusing new calls: the time in which load balancers look away', 0),
  FORGET_MS: span(3_600_000, 'A dead worker is forgotten after so long'),
  POOL_IDLE_MS: span(3_600_000, 'A pool without workers, jobs, and records of either is forgotten after so long'),
  RETENTION_MS: span(3_600_000, 'A finished job is kept so long'),
  MAX_RETENTION_MS: span(604_800_000, 'No job may ask to be kept longer'),
  BURIED_RETENTION_MS: span(604_800_000, 'A dead letter is kept so long'),
  BURIED_KEPT: count(10_000, 'So many dead letters a pool are kept'),
  FINISHED_KEPT: count(10_000, 'So many finished jobs a pool can be listed'),
  EVENTS_KEPT: count(10_000, 'So many events a pool are kept, roughly'),
  DEFAULT_RUN_TIMEOUT_MS: span(300_000, 'One attempt may take so long, unless the job says otherwise'),
  DEFAULT_MAX_ATTEMPTS: count(3, 'So many attempts, unless the job says otherwise', 1, 100),
  BACKOFF_MS: ms(1_000, 'Between the first and the second attempt', 0),
  BACKOFF_MAX_MS: ms(60_000, 'Between any two attempts at the most', 0),
  HANDOVER_BACKOFF_MS: ms(100, 'After the first time that a job could not be delivered; doubled each time', 0),
  MAX_HANDOVERS: count(5, 'A job that could not be delivered so often is buried'),
  BATCH_MAX: count(32, 'So many items in one script call', 1, 256),
  BATCH_BYTES: count(262_144, 'So many bytes of payload in one script call'),
  BATCH_QUEUE: count(10_000, 'So many submissions may wait for their script call, a pool'),
  MAX_PAYLOAD_BYTES: count(262_144, "A job's payload", 1, 16_777_216),
  MAX_RESULT_BYTES: count(262_144, "A job's result", 1, 16_777_216),
  MAX_WAITING: count(100_000, 'Queued and scheduled jobs a pool'),
  MAX_SLOTS: count(256, 'Slots a worker', 1, 4096),
  MAX_LINKS: count(5_000, 'Workers a replica holds links to'),
  ATTACH_CONCURRENCY: count(8, 'Workers that attach at once, a replica; the others wait their turn', 1, 10_000),
  MAX_CONNECTIONS: count(20_000, 'Connections open at GRPC_ADDR, and as many at LEGACY_ADDR; more are closed at once; not less than MAX_LINKS'),
  MAX_STREAMS: count(10_000, 'Concurrent calls a client connection', 1, 1_000_000),
  MAX_WAITERS: count(100_000, "Calls that wait for a job's end, a replica"),
  MAX_POOLS: count(1_000, 'Pools'),
  SCALER_WATCHERS: count(100, 'Streams that tell an autoscaler whether a pool has work, a replica', 1, 10_000),
  SCALER_POLL_MS: ms(1_000, 'How often the pools that an autoscaler watches are looked at'),
  PROBE_CONCURRENCY: count(64, 'Probes under way at once, a replica', 1, 10_000),
  DIAL_ALLOW: list('CIDRs (with :port or :from-to if wanted) that workers may be dialed at; empty: only the address that they registered from'),
  DIAL_PLAINTEXT: list('CIDRs (with ports as in DIAL_ALLOW) that are dialed without TLS; all others by TLS, but with INSECURE and no DIAL_CA'),
  DIAL_CA: text('', "PEM file of the authorities that sign dialed workers' certificates; empty: none is dialed by TLS"),
  DIAL_CERT: text('', 'PEM file of the certificate that dialed workers are shown; empty: none'),
  DIAL_KEY: text('', 'PEM file of the key of DIAL_CERT'),
  DIAL_RELOAD_MS: ms(5_000, 'How often the files of DIAL_CA, DIAL_CERT and DIAL_KEY are looked at'),
  JOB_CREDENTIALS: flag("METHOD workers are sent the credentials in a job's metadata too: authorization, cookie, and the like"),
  TIME_SCALE: z.coerce.number().min(0.001).max(1).default(1).describe('Multiplies every time; for tests, refused without INSECURE'),
  FAILPOINT: text(
    '',
    'Where this process ends, stops or stands still: name:exit|stop[:nth] or name:delay:ms[:nth]; for tests, refused without INSECURE',
  ),
  INSECURE: flag('Plaintext without credentials, and loopback workers; refused unless said'),
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'silent']).default('info').describe('What is logged'),
} as const;

const schema = z.object(fields);
export type Config = z.infer<typeof schema>;

export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** Pairs of times that must agree, as [smaller, factor, larger]: `smaller * factor < larger`. */
const ORDER: [keyof Config, number, keyof Config][] = [
  ['BEAT_MS', 2, 'LEASE_MS'],
  ['HOME_BEAT_MS', 2, 'HOME_TTL_MS'],
  ['CONFIRM_MS', 2, 'DELIVERY_MS'],
  ['ACCEPT_AGE_MS', 1, 'DELIVERY_MS'],
  ['DELIVERY_MS', 1, 'LEASE_MS'],
  ['TICK_MS', 4, 'TICK_STALE_MS'],
  ['TICK_STALE_MS', 1, 'OUTAGE_GRACE_MS'],
  ['PING_TIMEOUT_MS', 1, 'HEALTH_INTERVAL_MS'],
  ['STOP_GRACE_MS', 1, 'LEASE_MS'],
  ['RETENTION_MS', 1, 'MAX_RETENTION_MS'],
];

/** Reads the configuration out of an environment (and what flags said, under the same names without the prefix). Throws ConfigError. */
export function readConfig(env: Record<string, string | undefined>, flags: Partial<Record<keyof Config, unknown>> = {}): Config {
  const raw: Record<string, unknown> = {};
  for (const name of Object.keys(fields)) {
    const value = env[`MUSTER_${name}`];
    if (value !== undefined) raw[name] = value;
  }
  for (const [name, value] of Object.entries(flags)) if (value !== undefined) raw[name] = value;
  const unknown = Object.keys(env).filter((name) => name.startsWith('MUSTER_') && !(name.slice(7) in fields) && !FOREIGN.has(name));
  if (unknown.length > 0) throw new ConfigError(`${unknown.join(', ')}: no such setting; \`muster config\` lists them`);
  const parsed = schema.safeParse(raw);
  if (!parsed.success) {
    throw new ConfigError(parsed.error.issues.map((issue) => `MUSTER_${issue.path.join('.')}: ${issue.message}`).join('; '));
  }
  const config = parsed.data;
  if (config.INSECURE) listenOnLoopback(config, raw);
  for (const [small, factor, large] of ORDER) {
    if (Number(config[small]) * factor >= Number(config[large])) {
      const times = factor === 1 ? '' : ` times ${factor}`;
      throw new ConfigError(`MUSTER_${small} (${config[small]})${times} must be less than MUSTER_${large} (${config[large]})`);
    }
  }
  if (config.MAX_CONNECTIONS < config.MAX_LINKS) {
    const remedy = 'an attached worker has a connection of its own';
    throw new ConfigError(
      `MUSTER_MAX_CONNECTIONS (${config.MAX_CONNECTIONS}) must not be less than MUSTER_MAX_LINKS (${config.MAX_LINKS}): ${remedy}`,
    );
  }
  if (config.TIME_SCALE !== 1 && !config.INSECURE) throw new ConfigError('MUSTER_TIME_SCALE is for tests: it needs MUSTER_INSECURE=true');
  if (config.FAILPOINT !== '') checkFailpoint(config);
  checkRedis(config);
  checkRoles(config);
  return scaled(config);
}

/** A replica that asks nobody for credentials is for this machine, unless somebody says where else it listens. */
function listenOnLoopback(config: Config, given: Record<string, unknown>): void {
  for (const name of ['GRPC_ADDR', 'HTTP_ADDR'] as const) {
    if (given[name] === undefined) config[name] = config[name].replace(/^0\.0\.0\.0:/, '127.0.0.1:');
  }
}

function checkFailpoint({ FAILPOINT, INSECURE }: Config): void {
  if (!INSECURE) throw new ConfigError('MUSTER_FAILPOINT is for tests: it needs MUSTER_INSECURE=true');
  try {
    parseFailpoint(FAILPOINT);
  } catch (error) {
    throw new ConfigError(`MUSTER_FAILPOINT: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function checkRedis(config: Config): void {
  let tls = false;
  try {
    tls = parseRedisUrl(config.REDIS_URL).tls;
  } catch (error) {
    throw new ConfigError(`MUSTER_REDIS_URL: ${error instanceof Error ? error.message : String(error)}`);
  }
  const set = (['REDIS_CA', 'REDIS_CERT', 'REDIS_KEY', 'REDIS_SERVER_NAME'] as const).filter((name) => config[name] !== '');
  if (set.length > 0 && !tls) throw new ConfigError(`MUSTER_${set[0]} is for TLS, and MUSTER_REDIS_URL names none: write rediss instead of redis`);
  if ((config.REDIS_CERT === '') !== (config.REDIS_KEY === '')) throw new ConfigError('MUSTER_REDIS_CERT and MUSTER_REDIS_KEY go together');
}

function checkRoles({ TLS_ROLES }: Config): void {
  try {
    for (const role of TLS_ROLES) parseRolePattern(role);
  } catch (error) {
    throw new ConfigError(`MUSTER_TLS_ROLES: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Names with our prefix that other commands read. */
const FOREIGN: ReadonlySet<string> = new Set([
  'MUSTER_TARGET',
  'MUSTER_WORKER',
  'MUSTER_CLIENT_TLS',
  'MUSTER_CLIENT_TLS_CA',
  'MUSTER_CLIENT_TLS_CERT',
  'MUSTER_CLIENT_TLS_KEY',
  'MUSTER_CLIENT_TLS_SERVER_NAME',
  'MUSTER_CLIENT_TOKEN_FILE',
]);

function scaled(config: Config): Config {
  if (config.TIME_SCALE === 1) return config;
  const result: Record<string, unknown> = { ...config };
  for (const [name, value] of Object.entries(config)) {
    if (name.endsWith('_MS') && typeof value === 'number' && !UNSCALED.has(name)) result[name] = Math.max(1, Math.round(value * config.TIME_SCALE));
  }
  return result as Config;
}

/** How long the outside world takes does not shrink with our own times. */
const UNSCALED: ReadonlySet<string> = new Set([
  'REDIS_TIMEOUT_MS',
  'RETENTION_MS',
  'MAX_RETENTION_MS',
  'POOL_IDLE_MS',
  'BURIED_RETENTION_MS',
  'FORGET_MS',
  'LOOP_LAG_MAX_MS',
  'CONNECTION_AGE_MS',
  'PREFACE_MS',
  'DEFAULT_RUN_TIMEOUT_MS',
]);
