import type { Clock } from '../domain/clock.js';
import { MusterError, toError, unavailable } from '../domain/errors.js';
import { redisUser } from '../domain/redis-url.js';
import { type AuditOptions, auditLive, auditPools, type Finding } from './audit.js';
import { keys } from './keys.js';
import type { Connection } from './nodes.js';
import { type ConnectOptions, commandConnection, connectOrWait } from './redis.js';
import { redisError, type ScriptLimits, ScriptRunner } from './runner.js';
import { AuditScript } from './scripts/audit.js';
import { type Survey, survey } from './survey.js';

export interface InspectionOptions extends ConnectOptions {
  /** As the replicas have them. */
  limits: ScriptLimits;
  clock: Clock;
  /** Between two looks at what is wrong only if it lasts (default: 1 s). */
  lookAgainMs?: number;
  testClock?: boolean;
}

const LOOK_AGAIN_MS = 1_000;
/** Whom the scripts see: it is no replica, and writes nothing. */
const HOME = 'inspection';

/** Looks at what Muster keeps in Redis from beside the replicas, and writes nothing. */
export class Inspection {
  readonly #options: InspectionOptions;
  readonly #redis: Connection;
  readonly #script: AuditScript;

  constructor(options: InspectionOptions) {
    this.#options = options;
    this.#redis = commandConnection(options);
    this.#script = new AuditScript(new ScriptRunner(this.#redis, { ...options, home: HOME, user: redisUser(options.url) }));
  }

  /** Rejects with `unavailable` REDIS_AWAY when Redis cannot be reached before `signal` aborts, and at once when it refuses us. */
  async start(signal: AbortSignal): Promise<void> {
    await connectOrWait(this.#redis, signal, this.#options).catch((error: unknown) => {
      throw error instanceof MusterError ? error : unavailable('REDIS_AWAY', 'Redis is not reachable', toError(error));
    });
  }

  stop(): void {
    this.#redis.disconnect();
  }

  /** The names on the list of pools. Rejects with MusterError. */
  pools(): Promise<string[]> {
    return this.#read(this.#redis.smembers(keys.pools), 'the list of pools');
  }

  /** Rejects with MusterError. */
  survey(): Promise<Survey> {
    return this.#read(survey(this.#redis, this.#options.clock), 'the survey');
  }

  /** Every broken invariant of one pool, or of all. Rejects with MusterError. */
  audit(pool?: string): Promise<Finding[]> {
    return this.#read(auditPools(this.#auditing, pool), 'the audit');
  }

  /** Of what is under way in one pool, and of these jobs: cheap enough to be asked all the time. Rejects with MusterError. */
  auditLive(pool: string, jobs: readonly string[] = []): Promise<Finding[]> {
    return this.#read(auditLive(this.#auditing, pool, jobs), 'the audit');
  }

  get #auditing(): AuditOptions {
    const { clock, lookAgainMs = LOOK_AGAIN_MS } = this.#options;
    return { redis: this.#redis, script: this.#script, wait: () => clock.sleep(lookAgainMs) };
  }

  async #read<T>(reading: Promise<T>, what: string): Promise<T> {
    try {
      return await reading;
    } catch (error) {
      throw redisError(toError(error), what, redisUser(this.#options.url));
    }
  }
}
