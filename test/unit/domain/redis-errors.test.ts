import { expect, test } from 'vitest';
import { REDIS_ERRORS, redisErrorRule, redisReplyError } from '../../../src/domain/redis-errors.js';
import { redisError } from '../../../src/store/runner.js';

const reply = (message: string) => Object.assign(new Error(message), { name: 'ReplyError' });

/** What Redis 7.0, Redis 8, and Valkey 9 say, outside and inside scripts. */
const ANSWERS: [message: string, code: string, reason: string, leave?: 'now' | 'seldom'][] = [
  ["READONLY You can't write against a read only replica.", 'unavailable', 'REDIS_READONLY', 'now'],
  ['READONLY Can not run script with write flag on readonly replica.', 'unavailable', 'REDIS_READONLY', 'now'],
  ["READONLY You can't write against a read only replica. script: 3ab, on @user_script:7.", 'unavailable', 'REDIS_READONLY', 'now'],
  [
    "ERR Error running script (call to f_3ab): @user_script:7: -READONLY You can't write against a read only replica.",
    ...(['unavailable', 'REDIS_READONLY', 'now'] as const),
  ],
  ["MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", 'unavailable', 'REDIS_READONLY', 'now'],
  [
    'UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)',
    ...(['unavailable', 'REDIS_READONLY', 'now'] as const),
  ],
  ['NOREPLICAS Not enough good replicas to write.', 'unavailable', 'REDIS_NO_REPLICAS', 'seldom'],
  ['MISCONF Redis is configured to save RDB snapshots, but it is currently unable to persist to disk.', 'unavailable', 'REDIS_CANNOT_SAVE'],
  ['MISCONF Errors writing to the AOF file: No space left on device', 'unavailable', 'REDIS_CANNOT_SAVE'],
  ['LOADING Redis is loading the dataset in memory', 'unavailable', 'REDIS_LOADING'],
  ['BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.', 'unavailable', 'REDIS_BUSY'],
  ['UNKILLABLE Sorry the script already executed write commands against the dataset.', 'unavailable', 'REDIS_BUSY'],
  ["OOM command not allowed when used memory > 'maxmemory'.", 'resource_exhausted', 'REDIS_FULL'],
  ["OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'", 'resource_exhausted', 'REDIS_FULL'],
  [
    "ERR Error running script (call to f_1): @user_script:1: OOM command not allowed when used memory > 'maxmemory'.",
    'resource_exhausted',
    'REDIS_FULL',
  ],
  ['CLUSTERDOWN Hash slot not served', 'unavailable', 'REDIS_CLUSTER_DOWN'],
  ['CLUSTERDOWN The cluster is down', 'unavailable', 'REDIS_CLUSTER_DOWN'],
  ['TRYAGAIN Multiple keys request during rehashing of slot', 'unavailable', 'REDIS_MOVING'],
  ['MOVED 3999 127.0.0.1:6381', 'unavailable', 'REDIS_MOVING'],
  ['ASK 3999 127.0.0.1:6381', 'unavailable', 'REDIS_MOVING'],
  ['NOSCRIPT No matching script. Please use EVAL.', 'unavailable', 'REDIS_NO_SCRIPT'],
  ['EXECABORT Transaction discarded because of previous errors.', 'unavailable', 'REDIS_DISCARDED'],
  ['NOGOODSLAVE No suitable replica to promote', 'unavailable', 'REDIS_FAILOVER'],
  ['INPROG Failover already in progress', 'unavailable', 'REDIS_FAILOVER'],
  ['ERR max number of clients reached', 'unavailable', 'REDIS_CLIENTS'],
  ['ERR max number of clients + cluster connections reached', 'unavailable', 'REDIS_CLIENTS'],
  ['NOAUTH Authentication required.', 'failed_precondition', 'REDIS_AUTH'],
  ['WRONGPASS invalid username-password pair or user is disabled.', 'failed_precondition', 'REDIS_AUTH'],
  ["NOPERM this user has no permissions to run the 'evalsha' command", 'failed_precondition', 'REDIS_REFUSES'],
  ['DENIED Redis is running in protected mode because protected mode is enabled', 'failed_precondition', 'REDIS_PROTECTED'],
  ['ERR DB index is out of range', 'failed_precondition', 'REDIS_DATABASE'],
  ['ERR This instance has cluster support disabled', 'failed_precondition', 'REDIS_KIND'],
  ['ERR No such master with that name', 'failed_precondition', 'REDIS_KIND'],
  ["ERR unknown command 'SENTINEL', with args beginning with: 'MASTER' 'x' ", 'failed_precondition', 'REDIS_KIND'],
];

test.each(ANSWERS)('%s', (message, code, reason, leave) => {
  expect(redisErrorRule(message)?.leave).toBe(leave);
  // A permission and a password have words of their own, with the user in them.
  expect(redisError(reply(message), 'a job', 'me')).toMatchObject({ code, reason });
  if (code === 'unavailable')
    expect(redisReplyError(reply(message), 'a job')).toMatchObject({ retryAfterMs: 200, message: expect.stringMatching(message.slice(0, 9)) });
});

test('each word of the table is tried', () => {
  const words = new Set(ANSWERS.map(([message]) => message.split(' ')[0]));
  expect(Object.keys(REDIS_ERRORS).filter((word) => !words.has(word))).toEqual([]);
});

test.each([
  'WRONGTYPE Operation against a key holding the wrong kind of value script: 3ab, on @user_script:7.',
  "ERR user_script:12: Script attempted to access nonexistent global variable 'x' script: 3ab, on @user_script:12.",
  'ERR value is not an integer or out of range',
  "CROSSSLOT Keys in request don't hash to the same slot",
  'SOMETHING new',
])('%s is a bug of ours', (message) => {
  expect(redisErrorRule(message)).toBeUndefined();
  expect(redisError(reply(message), 'a job', 'me')).toMatchObject({ code: 'internal', reason: 'REDIS_ERROR' });
});

test('a transaction of which a part was refused says why that part was', () => {
  const aborted = Object.assign(reply('EXECABORT Transaction discarded because of previous errors.'), {
    previousErrors: [reply('NOREPLICAS Not enough good replicas to write.')],
  });
  expect(redisError(aborted, 'a job', 'me')).toMatchObject({ code: 'unavailable', reason: 'REDIS_NO_REPLICAS' });
});
