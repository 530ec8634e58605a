import { invalid } from './errors.js';

/** What the names in keys may look like. They stand in Redis keys and in hints, so neither spaces nor braces are among them. */
const POOL = /^[a-z0-9][a-z0-9-]{0,62}$/;
const ID = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;
/** What a job's or worker's other keys end in (store/keys.ts): job `a:payload` would lie where the payload of job `a` does. */
const TAKEN = /:(payload|metadata|result|error|progress|labels|kinds)$/;
const KIND = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$/;
const METHOD = /^\/[A-Za-z_][A-Za-z0-9_.]{0,126}\/[A-Za-z_][A-Za-z0-9_]{0,126}$/;

const OWN_METHOD = /^\/(muster\.v\d+\.[^/]*|worker\.WorkerService|externalscaler\.ExternalScaler)\//;

export const DEFAULT_POOL = 'default';
export const LEGACY_METHOD = '/job.JobService/RunJob';

export function checkPool(pool: string, field: string): string {
  if (pool === '') return DEFAULT_POOL;
  if (!POOL.test(pool)) {
    throw invalid(field, 'a pool is 1 to 63 of a-z, 0-9 and "-", beginning with a letter or digit');
  }
  return pool;
}

/** One that ends as another key does is none: a script that reads it as a job would fail, and with it everything of its call. */
export function isId(id: string): boolean {
  return ID.test(id) && !TAKEN.test(id);
}

export function checkId(id: string, field: string): string {
  if (!ID.test(id)) {
    throw invalid(field, id === '' ? 'must be set' : 'an id is 1 to 128 of letters, digits, ".", "_", ":" and "-", beginning with a letter or digit');
  }
  const [, taken] = TAKEN.exec(id) ?? [];
  if (taken !== undefined) throw invalid(field, `an id must not end in ":${taken}": write another separator, such as "-" or "."`);
  return id;
}

export function checkKind(kind: string, field: string): string {
  if (!KIND.test(kind)) {
    throw invalid(field, 'a kind is 1 to 63 of letters, digits, ".", "_", "/" and "-", beginning with a letter or digit');
  }
  return kind;
}

/**
 * Methods that replicas and RUNNER workers serve. None is a job: a worker that is one of these would be called by a replica, with a replica's
 * certificate and from a replica's address.
 */
export function isOwnMethod(method: string): boolean {
  return OWN_METHOD.test(method);
}

export function checkMethod(method: string, field: string): string {
  if (isOwnMethod(method)) throw invalid(field, `must be a method of your own: ${method} is one of Muster's, which no worker runs`);
  if (!METHOD.test(method)) throw invalid(field, 'a method is written /package.Service/Method');
  return method;
}
