import { MusterError } from '../domain/errors.js';
import { ANYBODY } from '../domain/identity.js';
import type { WorkerState } from '../domain/worker.js';

/**
 * Is that worker somebody else's? As the scripts have it (`foreign` in `lua/lib/owners.lua`): they decide, and this only spares them the way.
 * `by`: see `speakerOf`.
 */
export function isForeign({ owner, state }: { owner: string; state: WorkerState | '' }, by: string): boolean {
  return by !== ANYBODY && owner !== '' && owner !== by && state !== 'dead';
}

/** Who the owner is stays between the owner and the operators. */
export function notYours(id: string, field: string): MusterError {
  return new MusterError(
    'permission_denied',
    'NOT_YOURS',
    `${field}: worker ${id} belongs to another identity: use another id, or the credentials that it registered with; an admin may evict it`,
    { field },
  );
}
