import type { ServerWritableStream } from '@grpc/grpc-js';
import type { Clock } from '../domain/clock.js';
import { invalid, MusterError } from '../domain/errors.js';
import { allowPool, type Identity } from '../domain/identity.js';
import type { FleetQueries, PoolRecord } from '../fleet/queries.js';
import { entryField } from './checks.js';
import type { ExternalScalerServer, IsActiveResponse, ScaledObjectRef } from './generated/externalscaler/externalscaler.js';
import { LatestWriter } from './latest.js';
import { toStatus } from './status.js';
import type { Identify, Unary } from './unary.js';

export interface ScalerServiceOptions {
  queries: Pick<FleetQueries, 'readPools'>;
  unary: Unary;
  clock: Clock;
  /** Streams end when this replica stops. */
  stopping: AbortSignal;
  maxWatchers: number;
  /** Between two looks at the pools that are watched. */
  pollMs: number;
  /** Told when the watched pools could not be read. They are looked at again. */
  onError: (error: unknown) => void;
  /** undefined: nobody is asked who calls. */
  identify?: Identify;
}

/** What the metadata of a ScaledObject's trigger says. */
interface Trigger {
  pool: string;
  slotsPerWorker: number;
  target: number;
}

interface Watcher {
  pool: string;
  writer: LatestWriter<ScaledObjectRef, IsActiveResponse>;
  /** What was said last. */
  active: boolean | undefined;
}

const METRIC = 'muster-workers-wanted';
/** No worker has more (MAX_SLOTS). */
const MAX_SLOTS_PER_WORKER = 4_096;
const MAX_TARGET = 1_000_000;

/**
 * KEDA's ExternalScaler: how many workers a pool's jobs would fill. It counts what waits and what runs, never who is free: free workers are
 * there because jobs are not, so to scale by them would end workers while jobs wait for kinds that they do not know, or hold.
 */
export class ScalerService {
  readonly #options: ScalerServiceOptions;
  readonly #watchers = new Set<Watcher>();
  #looking = false;
  /** Aborted when a watcher came, or all have to go. */
  #news = new AbortController();

  constructor(options: ScalerServiceOptions) {
    this.#options = options;
    options.stopping.addEventListener('abort', () => this.#stop(), { once: true });
  }

  handlers(): ExternalScalerServer {
    const { unary } = this.#options;
    return {
      isActive: unary(async (ref, { identity }) => ({ result: jobsIn(await this.#read(readTrigger(ref, '', identity))) > 0 })),
      streamIsActive: (call) => this.#watch(call),
      getMetricSpec: unary(async (ref, { identity }) => {
        const { target } = readTrigger(ref, '', identity);
        return { metricSpecs: [{ metricName: METRIC, targetSize: String(Math.ceil(target)), targetSizeFloat: target }] };
      }),
      getMetrics: unary(async ({ scaledObjectRef, metricName }, { identity }) => {
        const trigger = readTrigger(scaledObjectRef, 'scaledObjectRef.', identity);
        const value = jobsIn(await this.#read(trigger)) / trigger.slotsPerWorker;
        return { metricValues: [{ metricName: metricName || METRIC, metricValue: String(Math.ceil(value)), metricValueFloat: value }] };
      }),
    };
  }

  async #read({ pool }: Trigger): Promise<PoolRecord | undefined> {
    return (await this.#options.queries.readPools([pool]))[0];
  }

  #watch(call: ServerWritableStream<ScaledObjectRef, IsActiveResponse>): void {
    const { maxWatchers, stopping, identify } = this.#options;
    try {
      const { pool } = readTrigger(call.request, '', identify?.(call.metadata));
      if (this.#watchers.size >= maxWatchers) throw tooMany(maxWatchers);
      const writer = new LatestWriter(call, () => this.#watchers.delete(watcher));
      const watcher: Watcher = { pool, writer, active: undefined };
      if (writer.ended) return;
      if (stopping.aborted) return writer.close();
      this.#watchers.add(watcher);
      this.#news.abort();
      void this.#look();
    } catch (error) {
      call.emit('error', toStatus(error));
    }
  }

  /** While somebody watches: one look at a time, so that what is told is told in its order. */
  async #look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    const { clock, pollMs, onError } = this.#options;
    while (this.#watchers.size > 0) {
      this.#news = new AbortController();
      await this.#tell().catch(onError);
      await clock.sleep(pollMs, this.#news.signal);
    }
    this.#looking = false;
  }

  async #tell(): Promise<void> {
    const watchers = [...this.#watchers];
    const pools = await this.#options.queries.readPools([...new Set(watchers.map(({ pool }) => pool))]);
    const busy = new Set(pools.filter((pool) => jobsIn(pool) > 0).map(({ name }) => name));
    for (const watcher of watchers) {
      const active = busy.has(watcher.pool);
      if (active === watcher.active) continue;
      watcher.active = active;
      watcher.writer.send({ result: active });
    }
  }

  #stop(): void {
    for (const { writer } of [...this.#watchers]) writer.close();
    this.#news.abort();
  }
}

/** Jobs that a worker has, or could have now. */
function jobsIn(pool: PoolRecord | undefined): number {
  return pool === undefined ? 0 : pool.waiting + pool.running;
}

/** Throws invalid_argument, or permission_denied for a pool that is not the caller's; `prefix`: of the fields' names. Entries that are not ours are KEDA's: it hands all of the trigger's on. */
function readTrigger(ref: ScaledObjectRef | undefined, prefix: string, identity: Identity | undefined): Trigger {
  const metadata = ref?.scalerMetadata ?? {};
  const field = (key: string) => entryField(`${prefix}scalerMetadata`, key);
  const pool = metadata['pool'] ?? '';
  if (pool === '') throw invalid(field('pool'), 'must name the pool whose workers are scaled');
  return {
    pool: allowPool(identity, pool, field('pool')),
    slotsPerWorker: readNumber(metadata['slotsPerWorker'], field('slotsPerWorker'), /^\d+$/, MAX_SLOTS_PER_WORKER),
    target: readNumber(metadata['target'], field('target'), /^\d+(\.\d+)?$/, MAX_TARGET),
  };
}

/** 1 where nothing is said. */
function readNumber(text: string | undefined, field: string, form: RegExp, max: number): number {
  if (text === undefined || text === '') return 1;
  const number = form.test(text) ? Number(text) : 0;
  if (number > 0 && number <= max) return number;
  throw invalid(field, form.test('0.5') ? `must be a number over 0, at most ${max}` : `must be a whole number from 1 to ${max}`);
}

function tooMany(maxWatchers: number): MusterError {
  const message = `this replica has ${maxWatchers} streams of StreamIsActive: use IsActive, or raise SCALER_WATCHERS`;
  return new MusterError('resource_exhausted', 'TOO_MANY_WATCHERS', message, { retryAfterMs: 1000 });
}
