import type { Config } from '../config.js';
import { evictionRefusal, judgeDurability, refusesToStart } from '../domain/durability.js';
import { MusterError } from '../domain/errors.js';
import type { Store } from '../store/store.js';
import type { Logger } from './log.js';

/**
 * Whoever relies on more than Redis keeps is told before the first job, and not by the loss of one. Throws `failed_precondition` DURABILITY for
 * a Redis that is too weak for `durable`, and EVICTION for one that may delete jobs.
 */
export async function checkDurability({ DURABILITY, DURABILITY_UNCHECKED }: Config, store: Store, log: Logger): Promise<void> {
  const persistence = await store.persistence();
  const evicts = evictionRefusal(persistence.evictionPolicy);
  if (evicts !== undefined) throw new MusterError('failed_precondition', 'EVICTION', evicts);
  const found = judgeDurability(DURABILITY, persistence);
  if (found.verdict === 'met') return;
  const said = `MUSTER_DURABILITY is ${DURABILITY}, but: ${found.what}. To mend it: ${found.remedy}`;
  if (refusesToStart(DURABILITY, found, DURABILITY_UNCHECKED)) throw new MusterError('failed_precondition', 'DURABILITY', said);
  log.warn(said);
}
