import { type ErrorCode, MusterError } from './errors.js';

/**
 * What Redis answers instead of doing a command, by the word that the answer begins with, and what Muster does about it. This is the whole list: any
 * other answer is a bug of ours (`internal`).
 */
export interface RedisErrorRule {
  /** `unavailable`: it passes, callers try again, and results are kept until Redis takes them. `failed_precondition`: an operator must act, and a start ends. */
  code: Extract<ErrorCode, 'unavailable' | 'resource_exhausted' | 'failed_precondition'>;
  /** As `ErrorInfo.reason`. */
  reason: string;
  /** What it means and what to do, after "Redis did not do x: ". */
  says: string;
  /**
   * Another connection may find another server: `now`: this server takes no writes at all; `seldom`: at most once a second, because it may
   * well be the right one.
   */
  leave?: 'now' | 'seldom';
}

const passing = (reason: string, says: string, leave?: 'now' | 'seldom'): RedisErrorRule => ({
  ...{ code: 'unavailable', reason, says },
  ...(leave ? { leave } : {}),
});
const acting = (reason: string, says: string): RedisErrorRule => ({ code: 'failed_precondition', reason, says });

/** When callers may try again. A full Redis takes longer than a moment. */
const RETRY_MS = { unavailable: 200, resource_exhausted: 5_000, failed_precondition: undefined };

const MOVING = 'the keys are on their way to another node of the Cluster';

/** By the first word of the answer. */
export const REDIS_ERRORS: Readonly<Record<string, RedisErrorRule>> = {
  READONLY: passing('REDIS_READONLY', 'this server is a replica and takes no writes: the connection is left for the master', 'now'),
  MASTERDOWN: passing('REDIS_READONLY', 'this server is a replica that has lost its master: the connection is left for the master', 'now'),
  UNBLOCKED: passing('REDIS_READONLY', 'this server has become a replica: the connection is left for the master', 'now'),
  NOREPLICAS: passing('REDIS_NO_REPLICAS', 'it has fewer replicas in step than min-replicas-to-write asks for', 'seldom'),
  MISCONF: passing('REDIS_CANNOT_SAVE', 'it cannot write its data to its disk: look at the disk and the log of Redis'),
  LOADING: passing('REDIS_LOADING', 'it still loads its data'),
  BUSY: passing('REDIS_BUSY', 'a script of somebody runs for too long'),
  UNKILLABLE: passing('REDIS_BUSY', 'a script of somebody runs for too long'),
  CLUSTERDOWN: passing('REDIS_CLUSTER_DOWN', 'the part of the Cluster that has these keys is down'),
  TRYAGAIN: passing('REDIS_MOVING', MOVING),
  MOVED: passing('REDIS_MOVING', MOVING),
  ASK: passing('REDIS_MOVING', MOVING),
  NOSCRIPT: passing('REDIS_NO_SCRIPT', 'it has forgotten the script'),
  EXECABORT: passing('REDIS_DISCARDED', 'a command of the transaction was refused'),
  NOGOODSLAVE: passing('REDIS_FAILOVER', 'the Sentinel has no replica to promote'),
  INPROG: passing('REDIS_FAILOVER', 'a failover is under way'),
  OOM: { code: 'resource_exhausted', reason: 'REDIS_FULL', says: 'it is at its maxmemory: no new work until it has room' },
  NOAUTH: acting('REDIS_AUTH', 'it wants a password: set user and password in MUSTER_REDIS_URL, as redis://user:password@host'),
  WRONGPASS: acting('REDIS_AUTH', 'it does not take the user and password of MUSTER_REDIS_URL'),
  NOPERM: acting('REDIS_REFUSES', 'the ACL of the user in MUSTER_REDIS_URL forbids it: the ACL that Muster needs is in docs/redis.md'),
  DENIED: acting('REDIS_PROTECTED', 'it is in protected mode: set a password or bind in Redis, or connect from its own host'),
};

/** Answers that begin with `ERR`, by what they say. */
export const REDIS_ERR: readonly { says: RegExp; rule: RedisErrorRule }[] = [
  { says: /^ERR max number of clients( \+ cluster connections)? reached/, rule: passing('REDIS_CLIENTS', 'it has its maxclients: raise it') },
  {
    says: /^ERR (DB index is out of range|invalid DB index|SELECT is not allowed)/,
    rule: acting('REDIS_DATABASE', 'it does not have the database that MUSTER_REDIS_URL names after the last slash'),
  },
  {
    says: /^ERR This instance has cluster support disabled/,
    rule: acting('REDIS_KIND', 'it is no Cluster: write redis:// instead of redis+cluster:// in MUSTER_REDIS_URL'),
  },
  {
    says: /^ERR No such master with that name/,
    rule: acting('REDIS_KIND', 'the Sentinels know no master of the name that MUSTER_REDIS_URL has after the hosts'),
  },
  {
    says: /^ERR this is a Sentinel, no Redis/,
    rule: acting('REDIS_KIND', 'it is a Sentinel: write redis+sentinel://host:port/master in MUSTER_REDIS_URL'),
  },
  {
    says: /^ERR this is a node of a Cluster/,
    rule: acting('REDIS_KIND', 'it is a node of a Cluster: write redis+cluster://host:port in MUSTER_REDIS_URL'),
  },
  {
    says: /^ERR unknown command '?`?sentinel/i,
    rule: acting('REDIS_KIND', 'it is a Redis, no Sentinel: write redis:// instead of redis+sentinel:// in MUSTER_REDIS_URL'),
  },
];

/** What a script reports of a command within it, before Redis 7 and on its like. */
const IN_SCRIPT = /^(?:ERR )?Error running script.*?:\s*-?(?=[A-Z]{2,} )/;

/** Of a command in a transaction or in a script of others, whatever stands before it. */
const FULL = / > 'maxmemory'/;

/** The rule for what Redis answered. undefined: there is none, so it is a bug, or no answer of Redis at all. */
export function redisErrorRule(message: string): RedisErrorRule | undefined {
  if (FULL.test(message)) return REDIS_ERRORS['OOM'];
  const said = message.replace(IN_SCRIPT, '');
  const [word = ''] = /^[A-Z]+(?= |$)/.exec(said) ?? [];
  if (Object.hasOwn(REDIS_ERRORS, word)) return REDIS_ERRORS[word];
  return REDIS_ERR.find(({ says }) => says.test(said))?.rule;
}

/** What Redis answered to `what`, in our words. undefined: there is no rule for it. Nothing of it was done. */
export function redisReplyError(error: Error, what: string): MusterError | undefined {
  const rule = redisErrorRule(error.message);
  if (!rule) return undefined;
  const { code, reason, says } = rule;
  const retryAfterMs = RETRY_MS[code];
  return new MusterError(code, reason, `Redis did not do ${what}: ${says} (${error.message})`, {
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    cause: error,
  });
}
