import { codeName } from '../sdk/api-error.js';
import { fromDuration } from '../sdk/duration.js';
import { Contract, type Job, type Pool, type Replica, type Worker } from '../sdk/messages.js';
import type { Io } from './io.js';
import { contractWord, jobStateWord, textOf, workerStateWord } from './plain.js';
import { age, sheet, span, table } from './table.js';

type Look = Pick<Io, 'colours' | 'now'>;

/** `pools`: with the pool of each, for jobs of several. */
export function jobTable(jobs: Job[], { colours, now }: Look, pools = false): string {
  const rows = jobs.map((job) => [
    ...(pools ? [job.spec?.pool ?? ''] : []),
    job.spec?.id ?? '',
    jobStateWord(job.state),
    workOf(job),
    job.attempt,
    job.worker,
    age(job.createTime, now()),
    whyOf(job),
  ]);
  return table([...(pools ? ['POOL'] : []), 'ID', 'STATE', 'WORK', 'ATTEMPT', 'WORKER', 'AGE', 'WHY'], rows, colours);
}

export function jobSheet(job: Job, { colours }: Look): string {
  const { spec, outcome } = job;
  const failure = outcome?.$case === 'failure' ? outcome.value : undefined;
  return sheet(
    [
      ['id', spec?.id ?? ''],
      ['pool', spec?.pool ?? ''],
      ['state', jobStateWord(job.state)],
      ['work', workOf(job)],
      ['attempt', `${job.attempt} of ${spec?.retry?.maxAttempts ?? '?'}${job.handovers > 0 ? `, ${job.handovers} handovers` : ''}`],
      ['worker', job.worker],
      ['why', job.waitingReason],
      ['priority', spec?.priority ?? 0],
      ['run timeout', spec?.runTimeout === undefined ? '' : span(fromDuration(spec.runTimeout) ?? 0)],
      ['created', at(job.createTime)],
      ['next', at(job.nextTime)],
      ['started', at(job.startTime)],
      ['finished', at(job.finishTime)],
      ['metadata', pairs(spec?.metadata ?? {})],
      ['payload', excerpt(spec?.payload)],
      ['progress', excerpt(job.progress)],
      ['output', outcome?.$case === 'output' ? excerpt(outcome.value) || '0 bytes' : ''],
      ['failure', failure === undefined ? '' : `${codeName(failure.code)} ${failure.reason}: ${failure.message}`],
    ],
    colours,
  );
}

export function workerTable(workers: Worker[], { colours, now }: Look): string {
  const rows = workers.map((worker) => [
    worker.pool,
    worker.id,
    workerStateWord(worker.state),
    contractWord(worker.contract),
    worker.address,
    `${worker.held.length}/${worker.slots}`,
    worker.home,
    age(worker.lastSeenTime, now()),
    worker.blocked ? 'blocked' : worker.reason,
  ]);
  return table(['POOL', 'ID', 'STATE', 'CONTRACT', 'ADDRESS', 'HELD', 'HOME', 'SEEN', 'WHY'], rows, colours);
}

export function workerSheet(worker: Worker, { colours, now }: Look): string {
  return sheet(
    [
      ['id', worker.id],
      ['pool', worker.pool],
      ['state', workerStateWord(worker.state)],
      ['why', worker.blocked ? `blocked: busy with what is not ours ${worker.reason}`.trim() : worker.reason],
      ['contract', contractWord(worker.contract)],
      ['address', worker.address],
      ['region', worker.region],
      ['slots', worker.slots],
      ['held', worker.held.map(({ jobId, quarantined }) => (quarantined ? `${jobId} (quarantined)` : jobId)).join(', ')],
      ['kinds', worker.kinds.join(', ')],
      ['labels', pairs(worker.labels)],
      ['version', worker.version],
      ['boot', worker.boot],
      ['home', worker.home],
      ['link epoch', worker.linkEpoch],
      ['misses', worker.misses],
      ['registered', at(worker.registerTime)],
      ['seen', worker.lastSeenTime === undefined ? '' : `${at(worker.lastSeenTime)} (${age(worker.lastSeenTime, now())} ago)`],
    ],
    colours,
  );
}

export function poolTable(pools: Pool[], { colours }: Look): string {
  const rows = pools.map((pool) => [
    pool.name,
    pool.family === Contract.CONTRACT_UNSPECIFIED ? '' : contractWord(pool.family),
    pool.paused ? 'paused' : 'open',
    ...[pool.workers, pool.free, pool.waiting, pool.scheduled, pool.running, pool.buried, pool.succeededTotal, pool.failedTotal, pool.retriedTotal],
  ]);
  const counts = ['WORKERS', 'FREE', 'WAITING', 'SCHEDULED', 'RUNNING', 'BURIED', 'SUCCEEDED', 'FAILED', 'RETRIED'];
  return table(['POOL', 'FAMILY', 'STATE', ...counts], rows, colours);
}

export function replicaTable(replicas: Replica[], { colours, now }: Look): string {
  const rows = replicas.map((replica) => [
    replica.id,
    replica.draining ? 'draining' : 'ready',
    replica.address,
    replica.version,
    replica.links,
    age(replica.startTime, now()),
  ]);
  return table(['ID', 'STATE', 'ADDRESS', 'VERSION', 'LINKS', 'UP'], rows, colours);
}

function workOf({ spec }: Job): string {
  return spec?.work?.value ?? '';
}

const WHY_MAX = 60;

function whyOf({ waitingReason, outcome }: Job): string {
  if (outcome?.$case !== 'failure') return waitingReason;
  const { reason, message } = outcome.value;
  const text = [waitingReason, reason, message].filter((part) => part !== '').join(': ');
  return text.length > WHY_MAX ? `${text.slice(0, WHY_MAX - 3)}...` : text;
}

function at(time: Date | undefined): string {
  return time?.toISOString() ?? '';
}

function pairs(record: Record<string, string>): string {
  return Object.entries(record)
    .map(([key, value]) => `${key}=${value}`)
    .join(', ');
}

const EXCERPT_BYTES = 200;

/** Bytes at a glance: short text as it is, the rest by size. `-o json` has them whole. */
function excerpt(value: Buffer | undefined): string {
  if (value === undefined || value.length === 0) return '';
  const text = value.length <= EXCERPT_BYTES ? textOf(value) : undefined;
  return text ?? `${value.length} bytes (-o json shows them)`;
}
