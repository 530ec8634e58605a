import { connect as connectTcp, isIP } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { MusterError } from '../domain/errors.js';
import { redisErrorRule } from '../domain/redis-errors.js';
import { redisRefusal } from '../domain/redis-refusal.js';
import { type HostPort, parseRedisUrl, type RedisTarget, redisUser } from '../domain/redis-url.js';
import type { RedisAccess, RedisTls } from './redis.js';

/** Why Redis cannot be used now, as a look at the addresses of MUSTER_REDIS_URL found it. */
export interface Obstacle {
  /** One line: each address, whether by TLS, and what is wrong there. '': nothing is. */
  why: string;
  /** Waiting would not help. */
  fatal: MusterError | undefined;
}

/** For an answer of one address. */
const ANSWER_MS = 1_000;
const QUOTED = 40;
/** How an alert and a handshake of TLS begin. */
const TLS_RECORDS = ['\x15\x03', '\x16\x03'];

type Heard = { connected: boolean } & ({ kind: 'said'; text: string } | { kind: 'failed'; error: Error } | { kind: 'closed' | 'silent' });

/**
 * Connects to the addresses as a stranger would, and judges what answers. ioredis says of most of it no more than that the connection was
 * closed. It sends neither user nor password.
 */
export async function findObstacle(access: RedisAccess): Promise<Obstacle> {
  const target = parseRedisUrl(access.url);
  const nodes = nodesOf(target);
  const tls = target.tls ? (access.tls ?? {}) : undefined;
  const look = new Look(target, tls, redisUser(access.url));
  const found = await Promise.all(nodes.map((node) => look.at(node)));
  const reached = found.filter(({ isReached }) => isReached);
  const [first] = reached;
  const how = target.tls ? 'TLS' : 'no TLS';
  const why = found.flatMap(({ node, what }) => (what === '' ? [] : [`${node.host}:${node.port} (${how}): ${what}`])).join('; ');
  return { why, fatal: reached.every(({ fatal }) => fatal) ? first?.fatal : undefined };
}

interface Found {
  node: HostPort;
  isReached: boolean;
  what: string;
  fatal: MusterError | undefined;
}

class Look {
  readonly #target: RedisTarget;
  readonly #tls: RedisTls | undefined;
  readonly #user: string;

  constructor(target: RedisTarget, tls: RedisTls | undefined, user: string) {
    this.#target = target;
    this.#tls = tls;
    this.#user = user;
  }

  async at(node: HostPort): Promise<Found> {
    const heard = await talk(node, this.#tls, this.#question());
    const found = (what: string, fatal?: MusterError): Found => ({ node, isReached: heard.connected || fatal !== undefined, what, fatal });
    const refused = (what: string, reason = 'REDIS_KIND') =>
      found(what, new MusterError('failed_precondition', reason, `MUSTER_REDIS_URL: ${node.host}:${node.port}: ${what}`));
    if (heard.kind === 'said') return this.#judge(heard.text, found, refused);
    const refusal = heard.kind === 'failed' ? redisRefusal(heard.error, this.#user) : undefined;
    if (refusal) return found(refusal.message, refusal);
    const other = await this.#withOtherTls(node, heard);
    if (other) return refused(other, 'REDIS_TLS');
    if (heard.kind === 'failed') return found(reasonOf(heard.error));
    if (!heard.connected) return found('no answer');
    return found(heard.kind === 'closed' ? 'it closes connections at once' : 'it takes connections and answers nothing');
  }

  /** Each kind of server answers it in its own way. */
  #question(): string {
    const { kind } = this.#target;
    if (kind === 'sentinel') return command('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', this.#target.name);
    return kind === 'cluster' ? command('CLUSTER', 'INFO') : command('PING');
  }

  #judge(text: string, found: (what: string, fatal?: MusterError) => Found, refused: (what: string, reason?: string) => Found): Found {
    const line = text.split('\r\n')[0] ?? '';
    if (TLS_RECORDS.some((begin) => text.startsWith(begin))) return refused('TLS is spoken there: write rediss instead of redis', 'REDIS_TLS');
    if (/^HTTP\/|^<html/i.test(text)) return refused('an HTTP server answers there, no Redis');
    if (!/^[+$*_%-]/.test(text)) return refused(`no Redis answers there, but ${JSON.stringify(line.slice(0, QUOTED))}`);
    if (this.#target.kind === 'sentinel' && /^-(NOAUTH|NOPERM)/.test(line)) {
      return refused('the Sentinel wants a user and a password, and Muster asks Sentinels without: let its default user ask', 'REDIS_AUTH');
    }
    const rule = line.startsWith('-') ? redisErrorRule(line.slice(1)) : undefined;
    // It was asked without a password; that of the connection has its own answer.
    if (rule && rule.code === 'failed_precondition' && !/^-(NOAUTH|NOPERM|WRONGPASS)/.test(line)) return refused(rule.says, rule.reason);
    if (this.#target.kind === 'sentinel' && /^(\*-1|\$-1|_)/.test(line)) {
      return refused(`the Sentinel knows no master of the name ${this.#target.name}`);
    }
    if (this.#target.kind === 'cluster' && text.includes('cluster_state:fail')) return found('the Cluster is down');
    return found(rule ? rule.says : '');
  }

  /** What is wrong with the scheme: TLS, or none, gets an answer where what was asked for gets none. */
  async #withOtherTls(node: HostPort, { kind, connected }: Heard): Promise<string | undefined> {
    // Not even TCP.
    if (kind === 'failed' && !connected && !this.#tls) return undefined;
    if (this.#tls) {
      const plain = await talk(node, undefined, this.#question());
      if (plain.kind !== 'said') return undefined;
      return 'no TLS is spoken there: name the TLS port of Redis, or write redis instead of rediss';
    }
    const secure = await talk(node, { rejectUnauthorized: false }, this.#question());
    const isTls =
      secure.connected || (secure.kind === 'failed' && /alert/i.test(`${(secure.error as { code?: unknown }).code} ${secure.error.message}`));
    return isTls ? 'TLS is spoken there: write rediss instead of redis' : undefined;
  }
}

function nodesOf(target: RedisTarget): HostPort[] {
  if (target.kind === 'sentinel') return target.sentinels;
  if (target.kind === 'cluster') return target.nodes;
  return target.node ? [target.node] : [];
}

function talk({ host, port }: HostPort, tls: (RedisTls & { rejectUnauthorized?: boolean }) | undefined, question: string): Promise<Heard> {
  return new Promise((resolve) => {
    const name = isIP(host) ? {} : { servername: host };
    const socket = tls ? connectTls({ host, port, ...name, ...tls }) : connectTcp({ host, port });
    let connected = false;
    const end = (heard: { kind: 'said'; text: string } | { kind: 'failed'; error: Error } | { kind: 'closed' | 'silent' }) => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ connected, ...heard });
    };
    const timer = setTimeout(() => end({ kind: 'silent' }), ANSWER_MS);
    socket.once('error', (error) => end({ kind: 'failed', error }));
    socket.once('close', () => end({ kind: 'closed' }));
    // Whether our certificate is taken is known when there is an answer, whatever it says.
    socket.once('data', (chunk: Buffer) => end({ kind: 'said', text: chunk.toString('latin1') }));
    socket.once(tls ? 'secureConnect' : 'connect', () => {
      connected = true;
      socket.write(question);
    });
  });
}

/** The command as Redis reads it. */
function command(...words: string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`;
}

function reasonOf(error: Error): string {
  // A name with several addresses fails with one error for all of them, which says nothing itself.
  const [first] = error instanceof AggregateError ? (error.errors as Error[]) : [error];
  return first?.message || String((error as { code?: unknown }).code);
}
