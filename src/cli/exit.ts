import type { ApiError } from '../sdk/api-error.js';
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
export function explain(error: ApiError, target: string): Ended {
  const said = [brief(error), ...fieldsOf(error)].join('; ');
  const reason = error.reason === '' ? error.codeName : `${error.codeName}, ${error.reason}`;
  switch (error.codeName) {
    case 'UNAVAILABLE':
      if (error.reason !== '')
        return new Ended(Exit.UNREACHABLE, `${target} answers, but cannot serve now: ${said} (${reason}). Try again in a moment.`);
      return new Ended(
        Exit.UNREACHABLE,
        `${target} cannot be reached: ${said}. Does a replica run there? \`muster serve\` starts one, --target names another.`,
      );
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
      return new Ended(Exit.FAILED, `refused: ${said} (${reason}).${remedyOf(error)}`);
  }
}

/** grpc-js wraps the cause of a failed connection into its balancer's words; the cause is what helps. */
export function brief({ message }: ApiError): string {
  const [, cause] = /^.*Last error: (?:Error: )?(.+?)(?:\. Resolution note: .*)?$/s.exec(message) ?? [];
  return printable(cause ?? message);
}

function fieldsOf(error: ApiError): string[] {
  return error.details.fields.filter(({ field }) => !error.message.includes(field)).map(({ field, description }) => `${field}: ${description}`);
}

function remedyOf(error: ApiError): string {
  const again = error.details.retryAfterMs === undefined ? '' : ` Try again in ${error.details.retryAfterMs} ms.`;
  switch (error.codeName) {
    case 'ALREADY_EXISTS':
      return ' Choose another --id, or end the one that is there first.';
    case 'FAILED_PRECONDITION':
      return ' `muster get` shows what state it is in.';
    case 'RESOURCE_EXHAUSTED':
      return again === '' ? ' Try again when there is room.' : again;
    case 'PERMISSION_DENIED':
    case 'UNAUTHENTICATED':
      return ' Ask whoever runs the replicas to allow it.';
    default:
      return again;
  }
}
