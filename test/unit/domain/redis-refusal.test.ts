import { expect, test } from 'vitest';
import { redisRefusal } from '../../../src/domain/redis-refusal.js';

const coded = (code: string, message: string) => Object.assign(new Error(message), { code });
const of = (name: string, message: string) => Object.assign(new Error(message), { command: { name } });

test.each<[Error, reason: string, said: RegExp]>([
  [of('evalsha', "NOPERM this user has no permissions to run the 'evalsha' command"), 'REDIS_REFUSES', /^Redis refuses EVALSHA to user me: NOPERM/],
  [of('config', "NOPERM User me has no permissions to run the 'config|get' command"), 'REDIS_REFUSES', /^Redis refuses CONFIG GET to user me: /],
  [of('get', 'NOPERM this user has no permissions to access one of the keys used as arguments'), 'REDIS_REFUSES', /refuses a key of GET to/],
  [of('subscribe', "NOPERM User me has no permissions to access the 'x' channel"), 'REDIS_REFUSES', /refuses a channel of SUBSCRIBE to/],
  [
    of('EVALSHA', "ERR The user executing the script can't run this command or subcommand script: a, on @user_script:1."),
    'REDIS_REFUSES',
    /within a script/,
  ],
  [of('EVALSHA', "ERR ACL failure in script: User me has no permissions to run the 'xadd' command script: a"), 'REDIS_REFUSES', /refuses XADD to/],
  [new Error('WRONGPASS invalid username-password pair or user is disabled.'), 'REDIS_AUTH', /set both in MUSTER_REDIS_URL/],
  [new Error('NOAUTH HELLO must be called with the client already authenticated'), 'REDIS_AUTH', /user me and the password/],
  [coded('DEPTH_ZERO_SELF_SIGNED_CERT', 'self-signed certificate'), 'REDIS_TLS', /set MUSTER_REDIS_CA/],
  [coded('UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'unable to verify the first certificate'), 'REDIS_TLS', /set MUSTER_REDIS_CA/],
  [coded('CERT_HAS_EXPIRED', 'certificate has expired'), 'REDIS_TLS', /has expired .*renew it where Redis runs/],
  [coded('ERR_TLS_CERT_ALTNAME_INVALID', "Hostname/IP does not match certificate's altnames: x"), 'REDIS_TLS', /MUSTER_REDIS_SERVER_NAME/],
  [coded('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'alert'), 'REDIS_TLS', /MUSTER_REDIS_CERT and MUSTER_REDIS_KEY/],
  [coded('ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', 'alert'), 'REDIS_TLS', /MUSTER_REDIS_CERT and MUSTER_REDIS_KEY/],
  [coded('ERR_SSL_WRONG_VERSION_NUMBER', 'wrong version number'), 'REDIS_TLS', /no TLS is spoken there/],
  [Object.assign(new Error('Failed to refresh slots cache.'), { lastNodeError: new Error('WRONGPASS x') }), 'REDIS_AUTH', /WRONGPASS/],
])('%s: %s', (error, reason, said) => {
  const refusal = redisRefusal(error, 'me');
  expect([refusal?.code, refusal?.reason, refusal?.message]).toEqual(['failed_precondition', reason, expect.stringMatching(said)]);
});

test.each([
  coded('ECONNREFUSED', 'connect ECONNREFUSED 127.0.0.1:6379'),
  new Error('LOADING Redis is loading the dataset in memory'),
  new Error('Connection is closed.'),
  new Error('CLUSTERDOWN The cluster is down'),
  new Error("ERR unknown command 'CONFIG'"),
])('%s is mended by waiting, or is something else', (error) => {
  expect(redisRefusal(error, 'me')).toBeUndefined();
});
