import type { Where } from '../sdk/access.js';
import { AccessError, type ApiError } from '../sdk/api-error.js';
import { printable } from './table.js';

/** What the shell is told. */
export const Exit = {
  DONE: 0,
  /** The job failed, was cancelled or expired; or something was refused. */
  FAILED: 1,
  USAGE: 2,
  UNREACHABLE: 3,
  NOT_FOUND: 4,
  WAITED_OUT: 124,
  INTERRUPTED: 130,
} as const;

/** Ends the command with that exit code, after telling the message unless it is ''. */
export class Ended extends Error {
  override readonly name = 'Ended';
  constructor(
    readonly exitCode: number,
    message = '',
  ) {
    super(message);
  }
}

/** What was typed cannot be taken; the message says what can. */
export function usage(message: string): Ended {
  return new Ended(Exit.USAGE, message);
}

/** What a call's failure is to the shell and to the person: the exit code, and what to do about it. */
export function explain(error: ApiError, where: Where): Ended {
  const { target } = where;
  const said = [brief(error), ...fieldsOf(error)].join('; ');
  const reason = error.reason === '' ? error.codeName : `${error.codeName}, ${error.reason}`;
  switch (error.codeName) {
    case 'UNAVAILABLE':
      if (error.reason !== '')
        return new Ended(Exit.UNREACHABLE, `${target} answers, but cannot serve now: ${said} (${reason}). Try again in a moment.`);
      return new Ended(Exit.UNREACHABLE, `${target} cannot be reached: ${said}. ${unreachedRemedy(error, where)}`);
    case 'DEADLINE_EXCEEDED':
      return new Ended(Exit.UNREACHABLE, `${target} did not answer in time: ${said}. What was asked may have happened. --timeout waits longer.`);
    case 'CANCELLED':
    case 'ABORTED':
      return new Ended(Exit.UNREACHABLE, `${target} broke off: ${said} (${reason}). What was asked may have happened; try again.`);
    case 'NOT_FOUND':
      return new Ended(Exit.NOT_FOUND, `not found: ${said}. Is it in another pool (--pool)?`);
    case 'INVALID_ARGUMENT':
      return new Ended(Exit.USAGE, `not taken: ${said} (${reason})`);
    case 'UNIMPLEMENTED':
      return new Ended(Exit.FAILED, `what runs at ${target} does not know that: ${said}. Is it Muster, and new enough?`);
    default:
      return new Ended(Exit.FAILED, `refused: ${said} (${reason}).${remedyOf(error, where)}`);
  }
}

/** grpc-js wraps the cause of a failed connection into its balancer's words; the cause is what helps. */
export function brief(error: ApiError): string {
  const message = error instanceof AccessError ? error.said : error.message;
  const [, cause] = /^.*Last error: (?:Error: )?(.+?)(?:\. Resolution note: .*)?$/s.exec(message) ?? [];
  return printable(cause ?? message);
}

/** What grpc-js says of a peer that it could speak no TLS with, or does not trust. */
const ABOUT_TLS = /certificate|SSL|TLS|altnames/i;
/** And of one that ends what is no TLS. */
const CUT_OFF = /Failed to connect|Protocol error|ECONNRESET|hang up|closed/i;

function unreachedRemedy({ message }: ApiError, { tls }: Where): string {
  if (tls && ABOUT_TLS.test(message))
    return 'Does it serve TLS? --tls-ca names the authority that signed its certificate, --tls-server-name the name that stands there.';
  const plain = !tls && CUT_OFF.test(message) ? ' If it serves TLS: --tls, or --tls-ca FILE.' : '';
  return `Does a replica run there? \`muster serve\` starts one, --target names another.${plain}`;
}

function fieldsOf(error: ApiError): string[] {
  return error.details.fields.filter(({ field }) => !error.message.includes(field)).map(({ field, description }) => `${field}: ${description}`);
}

function remedyOf(error: ApiError, { token, tls }: Where): string {
  const again = error.details.retryAfterMs === undefined ? '' : ` Try again in ${error.details.retryAfterMs} ms.`;
  switch (error.codeName) {
    case 'ALREADY_EXISTS':
      return ' Choose another --id, or end the one that is there first.';
    case 'FAILED_PRECONDITION':
      return ' `muster get` shows what state it is in.';
    case 'RESOURCE_EXHAUSTED':
      return again === '' ? ' Try again when there is room.' : again;
    case 'UNAUTHENTICATED': {
      const certificate = typeof tls === 'object' && tls.cert !== undefined;
      if (token === undefined && !certificate) return ' Say who asks: --token-file FILE is missing, or --tls-cert FILE and --tls-key FILE.';
      return ` Is the ${token === undefined ? 'certificate (--tls-cert)' : 'token (--token-file)'} one that the replicas know?`;
    }
    case 'PERMISSION_DENIED':
      return ' Ask whoever runs the replicas to allow it, or use another --token-file or --tls-cert.';
    default:
      return again;
  }
}
