import type { Redis } from 'ioredis';
import type { NewJob, Outcome } from '../../src/domain/job.js';
import { parseAddress } from '../../src/domain/worker.js';
import { keys } from '../../src/store/keys.js';
import type { Matched } from '../../src/store/parse.js';
import type { BeatItem } from '../../src/store/scripts/workers.js';
import type { Store } from '../../src/store/store.js';
import { digestOf } from '../helpers/spec-digest.js';
import type { Answer, BeatArg, Call, ResultArg, SubmitJob } from './calls.js';

/** One pool on a real Redis, seen by several replicas. */
export interface Pool {
  name: string;
  stores: ReadonlyMap<string, Store>;
  redis: Redis;
}

/** How many leases a page of `mine` has: small, so that its paging is tested too. */
const MINE_PAGE = 3;
const EMPTY = Buffer.alloc(0);
/** Longer than any run; expiry is real time. */
const RETENTION_MS = 3_600_000;

/** The answer, and whether the script asked to be followed by `match`. */
export interface Driven extends Answer {
  more: boolean;
}

function toSpec(pool: string, job: SubmitJob): NewJob {
  const spec = {
    pool,
    id: job.id,
    kind: job.kind,
    method: job.method,
    payload: Buffer.from(job.content),
    metadata: {},
    priority: job.priority,
    notBefore: job.start,
    queueTimeoutMs: job.queueMs,
    runTimeoutMs: job.runMs,
    totalTimeoutMs: job.totalMs,
    retry: { maxAttempts: job.maxAttempts, initialBackoffMs: job.initialMs, maxBackoffMs: 60_000, multiplier: 2, fatalCodes: job.fatal },
    retentionMs: RETENTION_MS,
  };
  return { ...spec, digest: digestOf(spec) };
}

function toOutcome({ ok, code, retryable, delayMs }: ResultArg): Outcome {
  if (ok) return { ok: true, output: Buffer.from('out') };
  const failure = { code, message: 'm', reason: 'r', retryable, details: EMPTY };
  return delayMs === undefined ? { ok: false, failure } : { ok: false, failure, retryAfterMs: delayMs };
}

function toBeat(item: BeatArg): BeatItem {
  if ('ageMs' in item) return item;
  const lease = { jobId: item.job, fence: item.fence };
  return { worker: item.worker, link: item.link, lease, open: item.open ?? false, ...(item.ranMs === undefined ? {} : { ranMs: item.ranMs }) };
}

function answer<T>({ reply, assignments, more }: Matched<T>, own: (reply: T) => unknown = (x) => x): Driven {
  const told = assignments.map(({ jobId, fence, worker, link, attempt }) => `${jobId} ${fence} ${worker} ${link} ${attempt}`);
  return { reply: own(reply) ?? null, assignments: told, more };
}

const plain = (reply: unknown): Driven => ({ reply: reply ?? null, assignments: [], more: false });

/** The undelivered leases of a home, all pages. */
async function mine(store: Store, pool: string): Promise<Driven> {
  const assignments: string[] = [];
  for (let offset = 0; offset >= 0; ) {
    const page = await store.jobs.mine(pool, offset, MINE_PAGE);
    assignments.push(...answer(page).assignments);
    offset = page.reply;
  }
  return { reply: -1, assignments, more: false };
}

async function expire({ redis, name }: Pool, job: string): Promise<Driven> {
  await redis.unlink(keys.job(name, job), keys.payload(name, job), keys.metadata(name, job), keys.result(name, job), keys.error(name, job));
  return plain(null);
}

export async function drive(pool: Pool, call: Call): Promise<Driven> {
  if (call.do === 'clock') {
    await pool.redis.set('muster:test:clock', call.us);
    return plain(null);
  }
  if (call.do === 'expire') return expire(pool, call.job);
  const store = pool.stores.get(call.home);
  if (!store) throw new Error(`no home ${call.home}`);
  return driveJobs(store, pool.name, call);
}

type ScriptCall = Exclude<Call, { do: 'clock' | 'expire' }>;

async function driveJobs(store: Store, pool: string, call: ScriptCall): Promise<Driven> {
  const { jobs } = store;
  switch (call.do) {
    case 'submit': {
      const specs = call.jobs.map((job) => ({ spec: toSpec(pool, job), wait: job.priority === 0 }));
      return answer(await jobs.submit(pool, specs, call.max), ({ statuses }) => statuses.map((status) => Object.values(status).join(' ')));
    }
    case 'finish': {
      const results = call.results.map((r) => ({
        pool,
        worker: r.worker,
        boot: r.boot,
        link: r.link,
        jobId: r.job,
        fence: r.fence,
        outcome: toOutcome(r),
      }));
      return answer(await jobs.finish(pool, results, call.claims), (all) => all.map(({ verdict, state, attempt }) => ({ verdict, state, attempt })));
    }
    case 'release': {
      const leases = call.leases.map(({ worker, job, fence, link, blocked, unreached }) => ({
        pool,
        worker,
        jobId: job,
        fence,
        link,
        blocked,
        unreached,
        reason: 'refused',
      }));
      return answer(await jobs.release(pool, leases));
    }
    case 'accept': {
      const leases = call.leases.map(({ worker, job, fence, link }) => ({ pool, worker, jobId: job, fence, link }));
      return answer(await jobs.accept(pool, leases));
    }
    case 'retry':
      return answer(await jobs.retry(pool, call.jobs));
    case 'tick':
      return answer(await jobs.tick(pool, { limit: call.limit, finishedKept: call.kept, buriedKept: call.kept }));
    case 'cancel':
      return plain((await jobs.cancel(pool, call.jobs)).map((state) => state ?? null));
    case 'purge':
      return plain(await jobs.purge(pool, call.scope, call.limit));
    case 'pause':
      return answer(await jobs.pause(pool, call.on));
    case 'match':
      return answer(await jobs.match(pool));
    case 'mine':
      return mine(store, pool);
    default:
      return driveWorkers(store, pool, call);
  }
}

type WorkerCall = Exclude<
  ScriptCall,
  { do: 'submit' | 'finish' | 'release' | 'accept' | 'retry' | 'tick' | 'cancel' | 'purge' | 'pause' | 'match' | 'mine' }
>;

async function driveWorkers(store: Store, pool: string, call: WorkerCall): Promise<Driven> {
  const { workers } = store;
  const ref = 'link' in call ? { pool, id: call.worker, boot: call.boot, link: call.link } : undefined;
  switch (call.do) {
    case 'register': {
      const { worker: id, boot, derived: bootDerived, contract, slots } = call;
      const info = {
        pool,
        id,
        address: parseAddress(call.address),
        contract,
        region: '',
        slots,
        labels: {},
        kinds: [],
        version: '',
        boot,
        bootDerived,
      };
      return answer(await workers.register(info, false));
    }
    case 'beat':
      return answer(await workers.beat(pool, call.beats.map(toBeat), call.leaving));
    case 'drain':
      return answer(await workers.drain(pool, call.worker, call.on));
    case 'deregister':
      return answer(await workers.deregister(pool, call.worker, call.boot, call.timeoutMs));
    case 'workerBeat': {
      const held = call.held.map(({ job, fence }) => ({ jobId: job, fence, done: false, progress: EMPTY }));
      return plain(await workers.workerBeat(pool, call.worker, call.boot, held));
    }
    case 'orphans': {
      const { orphans } = await workers.orphans(pool, '0', 100);
      return plain(orphans.map(({ id }) => id).sort());
    }
    case 'forgetHomes':
      return plain(await workers.forgetHomes(pool, call.homes));
  }
  if (!ref) throw new Error(`${call.do} names no link`);
  switch (call.do) {
    case 'probed': {
      const leases = call.leases.map(({ what, job, fence }) => ({ what, jobId: job, fence }));
      return answer(await workers.probed(ref, call.ageMs, call.busy, leases));
    }
    case 'suspect':
      return answer(await workers.suspect(ref, call.limit, 'missed'));
    case 'bury':
      return answer(await workers.bury(ref, call.evidenceMs, 'silent'));
    case 'adopt':
      return answer(await workers.adopt(ref));
  }
}
