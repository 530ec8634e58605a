import { MusterError } from './errors.js';
import { checkPool } from './names.js';

export const ROLES = ['worker', 'client', 'admin'] as const;
/** `worker` runs jobs, `client` submits them, `admin` may do everything. */
export type Role = (typeof ROLES)[number];

/** Who calls, as its credentials say. */
export interface Identity {
  /** A token's name, or a SAN of the client's certificate; at most MAX_NAME_BYTES of printable ASCII, so that records and events can hold it. */
  name: string;
  role: Role;
  /** The only pools that it may name; undefined: all. */
  pools: ReadonlySet<string> | undefined;
}

/** One value over 64 bytes would make Redis store a worker's whole hash threefold. */
export const MAX_NAME_BYTES = 64;

/** In the place of a name where a replica asks nobody for credentials. */
export const ANONYMOUS = 'anonymous';

/**
 * Whose word a call about a worker is, as the scripts compare it with the worker's owner (`by` in `lua/lib/owners.lua`): an identity's name, or
 * one of these.
 */
export const ANYBODY = '*';
/** Of somebody without credentials, at a replica that asks for them elsewhere. */
export const NOBODY = '';

/** `secured`: this replica asks for credentials, so that to have none means something. */
export function speakerOf(identity: Identity | undefined, secured: boolean): string {
  if (identity === undefined) return secured ? NOBODY : ANYBODY;
  return identity.role === 'admin' ? ANYBODY : identity.name;
}

/**
 * The one check of a pool that a caller names: returns its name, `default` for none. Throws invalid_argument for what is no name, and
 * permission_denied POOL_REFUSED when it is not one of the identity's pools.
 */
export function allowPool(identity: Identity | undefined, name: string, field: string): string {
  const pool = checkPool(name, field);
  if (identity?.pools === undefined || identity.pools.has(pool)) return pool;
  const message = `${field}: ${identity.name} may not use the pool ${pool}, only ${[...identity.pools].join(', ')}`;
  throw new MusterError('permission_denied', 'POOL_REFUSED', message, { field });
}

/** Do both say the same of whoever brings them? */
export function sameIdentity(a: Identity | undefined, b: Identity | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.name === b.name && a.role === b.role && [...(a.pools ?? ['*'])].sort().join() === [...(b.pools ?? ['*'])].sort().join();
}
