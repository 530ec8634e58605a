import { status } from '@grpc/grpc-js';
import type { Clock, Random } from '../domain/clock.js';
import type { WorkerInfo } from '../grpc/generated/muster/v1/worker.js';
import { ApiError } from './api-error.js';
import { Backoff } from './backoff.js';
import type { Api } from './connect.js';
import { fromDuration } from './duration.js';
import { Refusals } from './refusals.js';

export interface EnrollOptions {
  api: Pick<Api, 'register' | 'ping'>;
  info: WorkerInfo;
  clock: Clock;
  random: Random;
  /** Told of what a person should look at; the worker goes on trying. */
  onError: (error: Error) => void;
  onRegistered: (replica: string) => void;
  /** After a first refusal that will not pass by itself; see `Refusals`. */
  slowRetryMs: number;
}

const TIMES = { firstMs: 400, maxMs: 5_000 };
/** What a replica, or the kind of the refusal, asks to wait is spread up to so much more. */
const SPREAD = 0.5;
const PING_MS = 10_000;
const PING_MIN_MS = 100;
/** A replica dials and probes the worker before it answers. */
const REGISTER_DEADLINE_MS = 15_000;

/** Refusals that trying again soon does not change: someone has to act, or the roll has to. */
const PERMANENT: ReadonlySet<number> = new Set([
  status.INVALID_ARGUMENT,
  status.PERMISSION_DENIED,
  status.UNAUTHENTICATED,
  status.FAILED_PRECONDITION,
  status.UNIMPLEMENTED,
]);

/** Keeps one worker on the roll: registers until it stands there, pings, registers again when told that it does not. Ends with the signal. */
export async function enroll(options: EnrollOptions, signal: AbortSignal): Promise<void> {
  const { clock, random, onRegistered, slowRetryMs } = options;
  const refusals = new Refusals(slowRetryMs);
  const backoff = new Backoff(random, TIMES);
  while (!signal.aborted) {
    const step = await register(options, refusals, signal);
    if (signal.aborted) return;
    if ('retryMs' in step) {
      const pauseMs = backoff.nextMs();
      await clock.sleep(step.retryMs === undefined ? pauseMs : step.retryMs * (1 + SPREAD * random()), signal);
      continue;
    }
    backoff.reset();
    refusals.over();
    onRegistered(step.replica);
    await pingWhileHealthy(options, step.pingMs, signal);
  }
}

type Step = { replica: string; pingMs: number } | { retryMs: number | undefined };

async function register({ api, info, onError }: EnrollOptions, refusals: Refusals, signal: AbortSignal): Promise<Step> {
  const tell = (error: ApiError) => {
    if (refusals.isNews(error)) onError(error);
  };
  try {
    const ack = await api.register(info, { deadlineMs: REGISTER_DEADLINE_MS, signal });
    if (ack.success) return { replica: ack.replica, pingMs: Math.max(PING_MIN_MS, fromDuration(ack.pingInterval) ?? PING_MS) };
    tell(new ApiError(status.FAILED_PRECONDITION, '', `worker ${info.id} was not registered: ${ack.message}`));
    return { retryMs: refusals.nextMs() };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (PERMANENT.has(error.code)) {
      tell(error);
      return { retryMs: refusals.nextMs() };
    }
    // The old life under this id still answers, and may be on its way out.
    if (error.code === status.ALREADY_EXISTS) tell(error);
    return { retryMs: error.details.retryAfterMs };
  }
}

/** Returns when the roll does not know the worker any more, or the signal is aborted. No answer is no news: the replica's own probes count. */
async function pingWhileHealthy({ api, info, clock, random, onError }: EnrollOptions, pingMs: number, signal: AbortSignal): Promise<void> {
  for (;;) {
    // Up to a fifth early, never late: the interval is "at the least".
    await clock.sleep(pingMs * (0.8 + 0.2 * random()), signal);
    if (signal.aborted) return;
    try {
      const { healthy } = await api.ping({ id: info.id, pool: info.pool, boot: info.boot }, { deadlineMs: Math.max(pingMs, 1_000), signal });
      if (!healthy) return;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!error.broken) onError(error);
    }
  }
}
