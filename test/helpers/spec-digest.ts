import { createHash } from 'node:crypto';
import type { JobSpec } from '../../src/domain/job.js';

/** For specs that no caller sent: another one for other content. */
export function digestOf({ pool: _pool, id: _id, payload, ...content }: JobSpec): string {
  return createHash('sha256').update(JSON.stringify(content)).update(payload).digest('base64url').slice(0, 22);
}
