import type { ServerWritableStream } from '@grpc/grpc-js';
import type { Clock } from '../domain/clock.js';
import { readDescriptors } from '../domain/descriptors.js';
import { invalid, MusterError } from '../domain/errors.js';
import { ANONYMOUS, allowPool, type Identity } from '../domain/identity.js';
import { checkId } from '../domain/names.js';
import type { FleetQueries, PoolEvent, PoolRecord } from '../fleet/queries.js';
import type { SettableState, WorkerManager } from '../fleet/worker-manager.js';
import type { Jobs } from '../jobs/jobs.js';
import { checkText } from './checks.js';
import { fromWorkerRecord, toProtoContract, toWorkerState } from './convert-worker.js';
import { type AdminServiceServer, type Pool, PurgeScope, type WatchEventsRequest, type WatchEventsResponse } from './generated/muster/v1/admin.js';
import { Contract as ProtoContract } from './generated/muster/v1/common.js';
import { pageOf } from './job-service.js';
import { toStatus } from './status.js';
import { durationMs, toDate } from './time.js';
import type { Identify, Unary } from './unary.js';

export interface AdminServiceOptions {
  manager: WorkerManager;
  queries: FleetQueries;
  jobs: Jobs;
  unary: Unary;
  clock: Clock;
  /** Streams end when this replica stops. */
  stopping: AbortSignal;
  maxWatchers: number;
  /** undefined: nobody is asked who calls. */
  identify?: Identify;
}

const MAX_REASON_BYTES = 64;
/** Only while somebody watches; a stream of people's size. */
const EVENTS_POLL_MS = 500;
const EVENTS_PAGE = 100;

/** What operators call. Each call that changes something is an event of its pool, `admin.<Method>`, with the identity whose it was. */
export class AdminService {
  readonly #options: AdminServiceOptions;
  #watchers = 0;

  constructor(options: AdminServiceOptions) {
    this.#options = options;
  }

  handlers(): AdminServiceServer {
    const { queries, jobs, unary } = this.#options;
    return {
      listWorkers: unary(async ({ pool, state, pageSize, pageToken }, { identity }) => {
        const page = await queries.listWorkers(
          pool === '' ? '' : allowPool(identity, pool, 'pool'),
          toWorkerState(state),
          pageOf(pageSize || 100),
          pageToken,
        );
        return { workers: page.workers.map(fromWorkerRecord), nextPageToken: page.next };
      }),
      getWorker: unary(async ({ pool, id }, { identity }) => ({ worker: await this.#worker(pool, id, identity) })),
      listPools: unary(async () => ({ pools: (await queries.listPools()).map(fromPoolRecord) })),
      listReplicas: unary(async () => ({
        replicas: (await queries.listReplicas()).map(({ startedAt, ...replica }) => ({ ...replica, startTime: toDate(startedAt) })),
      })),
      drainWorker: unary(({ pool, id }, { identity }) => this.#set(pool, id, 'draining', '', identity)),
      undrainWorker: unary(({ pool, id }, { identity }) => this.#set(pool, id, 'free', '', identity)),
      evictWorker: unary(({ pool, id, reason }, { identity }) =>
        this.#set(pool, id, 'dead', checkText(reason, 'reason', MAX_REASON_BYTES) || 'evicted', identity),
      ),
      pausePool: unary(async ({ pool }, { identity }) => {
        await jobs.pause(allowPool(identity, pool, 'pool'), true, nameOf(identity));
        return {};
      }),
      resumePool: unary(async ({ pool }, { identity }) => {
        await jobs.pause(allowPool(identity, pool, 'pool'), false, nameOf(identity));
        return {};
      }),
      purgePool: unary(({ pool, scope }, { identity }) => jobs.purge(allowPool(identity, pool, 'pool'), toScope(scope), nameOf(identity))),
      deletePool: unary(({ pool }, { identity }) => jobs.deletePool(allowPool(identity, pool, 'pool'), nameOf(identity))),
      retryBuried: unary(({ pool }, { identity }) => jobs.retryBuried(allowPool(identity, pool, 'pool'), nameOf(identity))),
      putPoolDescriptors: unary(async ({ pool, fileDescriptorSet }, { identity }) => {
        const check = (set: Buffer) => void readDescriptors(set, 'file_descriptor_set');
        await queries.putDescriptors(allowPool(identity, pool, 'pool'), fileDescriptorSet, check, nameOf(identity));
        return {};
      }),
      getPoolDescriptors: unary(async ({ pool }, { identity }) => ({
        fileDescriptorSet: await queries.descriptors(allowPool(identity, pool, 'pool')),
      })),
      watchEvents: (call) => void this.#watchEvents(call),
    };
  }

  async #worker(pool: string, id: string, identity: Identity | undefined) {
    return fromWorkerRecord(await this.#options.queries.getWorker(allowPool(identity, pool, 'pool'), checkId(id, 'id')));
  }

  async #set(pool: string, id: string, state: SettableState, reason: string, identity: Identity | undefined) {
    await this.#options.manager.setWorkerState(allowPool(identity, pool, 'pool'), checkId(id, 'id'), state, reason, nameOf(identity));
    return { worker: await this.#worker(pool, id, identity) };
  }

  async #watchEvents(call: ServerWritableStream<WatchEventsRequest, WatchEventsResponse>): Promise<void> {
    const { maxWatchers, stopping } = this.#options;
    const gone = new AbortController();
    call.on('cancelled', () => gone.abort());
    this.#watchers++;
    try {
      if (this.#watchers > maxWatchers) {
        throw new MusterError(
          'resource_exhausted',
          'TOO_MANY_WATCHERS',
          `this replica has ${maxWatchers} streams of events: end one, or try another replica`,
        );
      }
      await this.#pour(call, AbortSignal.any([gone.signal, stopping]));
      call.end();
    } catch (error) {
      if (!gone.signal.aborted) call.emit('error', toStatus(error));
    } finally {
      this.#watchers--;
    }
  }

  async #pour(call: ServerWritableStream<WatchEventsRequest, WatchEventsResponse>, signal: AbortSignal): Promise<void> {
    const { queries, clock } = this.#options;
    const pool = allowPool(this.#options.identify?.(call.metadata), call.request.pool, 'pool');
    await queries.requirePool(pool);
    const until = clock.monotonic() + (durationMs(call.request.within, 'within') ?? Number.POSITIVE_INFINITY);
    let last = call.request.after || '$';
    while (!signal.aborted && clock.monotonic() < until) {
      const page = await queries.events(pool, last, EVENTS_PAGE);
      last = page.last;
      for (const event of page.events) await write(call, fromEvent(event), signal);
      if (page.events.length < EVENTS_PAGE) await clock.sleep(Math.min(EVENTS_POLL_MS, until - clock.monotonic()), signal);
    }
  }
}

function nameOf(identity: Identity | undefined): string {
  return identity?.name ?? ANONYMOUS;
}

/** A reader that is slow makes us wait, not remember. */
async function write(
  call: ServerWritableStream<WatchEventsRequest, WatchEventsResponse>,
  event: WatchEventsResponse,
  signal: AbortSignal,
): Promise<void> {
  if (call.write(event) || signal.aborted) return;
  await new Promise<void>((resolve) => {
    const end = () => {
      call.off('drain', end);
      signal.removeEventListener('abort', end);
      resolve();
    };
    call.on('drain', end);
    signal.addEventListener('abort', end, { once: true });
  });
}

function fromEvent({ id, at, kind, subject, fields }: PoolEvent): WatchEventsResponse {
  return { id, time: toDate(at), kind, subject, fields };
}

function fromPoolRecord({ family, waiting, scheduled, running, buried, succeededTotal, failedTotal, retriedTotal, ...pool }: PoolRecord): Pool {
  return {
    ...pool,
    family: family ? toProtoContract(family) : ProtoContract.CONTRACT_UNSPECIFIED,
    waiting: String(waiting),
    scheduled: String(scheduled),
    running: String(running),
    buried: String(buried),
    succeededTotal: String(succeededTotal),
    failedTotal: String(failedTotal),
    retriedTotal: String(retriedTotal),
  };
}

function toScope(scope: PurgeScope): 'queued' | 'buried' {
  if (scope === PurgeScope.PURGE_SCOPE_QUEUED) return 'queued';
  if (scope === PurgeScope.PURGE_SCOPE_BURIED) return 'buried';
  throw invalid('scope', 'must be PURGE_SCOPE_QUEUED or PURGE_SCOPE_BURIED');
}
