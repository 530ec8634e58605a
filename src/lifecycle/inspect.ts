import type { Config } from '../config.js';
import { systemClock } from '../domain/clock.js';
import { MusterError } from '../domain/errors.js';
import type { Finding } from '../store/audit.js';
import { Inspection } from '../store/inspection.js';
import { type Diagnosis, diagnose } from './doctor.js';
import { scriptLimits } from './limits.js';
import { redisAccess } from './redis-access.js';

export type { Diagnosis, Finding };

/** Nothing hangs on a quick answer here, and the Redis may be a busy one. */
const ANSWER_MS = 5_000;

/** Opens a way to look at a Redis from beside the replicas. Rejects with MusterError `unavailable` when it cannot be reached within 5 s. */
async function inspecting<T>(config: Config, use: (inspection: Inspection) => Promise<T>): Promise<T> {
  // Why it cannot be reached, and not only that.
  let last = '';
  const inspection = new Inspection({
    ...redisAccess(config),
    timeoutMs: ANSWER_MS,
    limits: scriptLimits(config),
    clock: systemClock,
    onError: (error) => {
      last = error.message || ('code' in error ? String(error.code) : '');
    },
  });
  try {
    await inspection.start(AbortSignal.timeout(ANSWER_MS));
    return await use(inspection);
  } catch (error) {
    if (error instanceof MusterError && error.code === 'unavailable' && last !== '')
      throw new MusterError(error.code, error.reason, `${error.message} (${last})`, { cause: error });
    throw error;
  } finally {
    inspection.stop();
  }
}

export interface AuditScope {
  /** This pool alone; absent: all. */
  pool?: string;
  /** Only what is under way: what has ended is not looked at. */
  live?: boolean;
}

/** Every broken invariant; undefined for a pool that is not there. Rejects with MusterError. */
export function audit(config: Config, { pool, live = false }: AuditScope): Promise<Finding[] | undefined> {
  return inspecting(config, async (inspection) => {
    const pools = await inspection.pools();
    if (pool !== undefined && !pools.includes(pool)) return undefined;
    if (!live) return inspection.audit(pool);
    const findings: Finding[] = [];
    for (const name of pool === undefined ? pools : [pool]) findings.push(...(await inspection.auditLive(name)));
    return findings;
  });
}

/** What is well and what is not. Rejects with MusterError. */
export function examine(config: Config): Promise<Diagnosis[]> {
  return inspecting(config, async (inspection) => {
    const survey = await inspection.survey();
    // An old Redis has no scripts to look with.
    const broken = survey.version !== '' && Number(survey.version.split('.')[0]) < 7 ? 0 : (await inspection.audit()).length;
    return diagnose({ survey, broken, config });
  });
}
