import { MusterError, toError } from './errors.js';
import { redisErrorRule } from './redis-errors.js';

/** What the one who verifies a certificate says of an authority that it does not know. */
const UNTRUSTED = /self[- ]signed certificate|unable to (verify the first|get (local )?issuer) certificate|certificate signature failure/i;
const OTHER_NAME = /ERR_TLS_CERT_ALTNAME_INVALID|does not match certificate's altnames/;
const EXPIRED = /CERT_HAS_EXPIRED|certificate has expired/;
/** What the other side says of ours. */
const OURS_REFUSED = /ERR_SSL_\w*ALERT\w*(CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)|alert (bad certificate|certificate required|unknown ca)/i;
const NO_TLS = /ERR_SSL_WRONG_VERSION_NUMBER|wrong version number/i;
const CREDENTIALS = /^(WRONGPASS|NOAUTH)|invalid (username-password pair|password)/;
const PERMISSION = /^NOPERM|The user executing the script can't|^ERR ACL failure in script/;

/**
 * What no waiting mends: a permission that our user lacks, a password or a certificate that is not taken. undefined: it is something else.
 * The answer says what to set, and has neither password nor key.
 */
export function redisRefusal(thrown: unknown, user: string): MusterError | undefined {
  const error = toError(thrown);
  const cause = (error as { lastNodeError?: Error }).lastNodeError;
  if (cause) return redisRefusal(cause, user);
  const refused = (reason: string, message: string) => new MusterError('failed_precondition', reason, message, { cause: error });
  const said = `${(error as { code?: unknown }).code ?? ''} ${error.message}`.trim();
  if (PERMISSION.test(error.message)) {
    return refused(
      'REDIS_REFUSES',
      `Redis refuses ${refusedOf(error)} to user ${user}: ${error.message}. The ACL that Muster needs is in docs/redis.md`,
    );
  }
  if (CREDENTIALS.test(error.message)) {
    return refused(
      'REDIS_AUTH',
      `Redis does not take user ${user} and the password (${error.message}): set both in MUSTER_REDIS_URL, as redis://user:password@host`,
    );
  }
  if (OTHER_NAME.test(said)) {
    const remedy = 'call it by one of them in MUSTER_REDIS_URL, or set MUSTER_REDIS_SERVER_NAME to one';
    return refused('REDIS_TLS', `the certificate of Redis is for other names (${error.message}): ${remedy}`);
  }
  if (EXPIRED.test(said)) return refused('REDIS_TLS', `the certificate of Redis has expired (${said}): renew it where Redis runs`);
  if (UNTRUSTED.test(said)) {
    const remedy = "set MUSTER_REDIS_CA to the PEM file of its authority's certificate";
    return refused('REDIS_TLS', `the certificate of Redis is signed by nobody who is trusted here (${error.message}): ${remedy}`);
  }
  if (OURS_REFUSED.test(said)) {
    const remedy = 'set MUSTER_REDIS_CERT and MUSTER_REDIS_KEY to a certificate, with its key, of an authority that Redis trusts';
    return refused('REDIS_TLS', `Redis does not take our certificate, or wants one (${said}): ${remedy}`);
  }
  const rule = redisErrorRule(error.message);
  if (rule?.code === 'failed_precondition') return refused(rule.reason, `Redis cannot be used: ${rule.says} (${error.message})`);
  if (NO_TLS.test(said)) return refused('REDIS_TLS', `no TLS is spoken there (${said}): name the TLS port of Redis, or redis:// in MUSTER_REDIS_URL`);
  return undefined;
}

/** The command, or what it was to touch. */
function refusedOf({ message, ...rest }: Error): string {
  const [, named] = /run the '([^']+)' command/.exec(message) ?? [];
  if (named !== undefined) return named.replace('|', ' ').toUpperCase();
  const { command } = rest as { command?: { name?: string } };
  const of = command?.name === undefined ? '' : ` of ${command.name.toUpperCase()}`;
  if (/channel/.test(message)) return `a channel${of}`;
  if (/keys?\b/.test(message)) return `a key${of}`;
  return `a command within a script${of}`;
}
