import type { Pool } from '../../sdk/messages.js';
import { span, table } from '../table.js';
import type { Healed } from './faults.js';
import type { Tally } from './load.js';

/** The demo's result; the names and their order are what `-o json` prints. */
export interface Summary {
  replicas: number;
  workers: number;
  jobs: number;
  succeeded: number;
  /** Attempts that failed and were repeated, as the replicas count them. */
  retried: number;
  /** Jobs that were submitted and did not succeed. */
  lost: number;
  /** Results accepted, as Redis counts them, beyond one a job. */
  duplicated: number;
  /** Results that are not the demo's own hash of the file. */
  mismatched: number;
  jobsPerSecond: number;
  p50Ms: number;
  p99Ms: number;
  /** null: not healed. */
  replicaKillHealMs: number | null;
  workerKillHealMs: number | null;
  /** Attempts begun beyond one a job. */
  attemptsSpent: number;
}

export interface Ending {
  replicas: number;
  workers: number;
  tally: Tally;
  tookMs: number;
  pools: readonly Pool[];
  healed: Healed;
}

export function summarize({ replicas, workers, tally, tookMs, pools, healed }: Ending): Summary {
  const { jobs, succeeded, mismatched, attempts, latenciesMs } = tally;
  const sorted = latenciesMs.toSorted((a, b) => a - b);
  const total = (count: (pool: Pool) => string) => pools.reduce((sum, pool) => sum + Number(count(pool)), 0);
  return {
    replicas,
    workers,
    jobs,
    succeeded,
    retried: total((pool) => pool.retriedTotal),
    lost: jobs - succeeded,
    duplicated: Math.max(0, total((pool) => pool.succeededTotal) - succeeded),
    mismatched,
    jobsPerSecond: Math.round((succeeded * 1000) / tookMs),
    p50Ms: percentile(sorted, 0.5),
    p99Ms: percentile(sorted, 0.99),
    replicaKillHealMs: whole(healed.replicaKillHealMs),
    workerKillHealMs: whole(healed.workerKillHealMs),
    attemptsSpent: Math.max(0, attempts - jobs),
  };
}

function percentile(sorted: readonly number[], part: number): number {
  const value = sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)] ?? 0;
  return Math.round(value * 10) / 10;
}

function whole(ms: number | undefined): number | null {
  return ms === undefined ? null : Math.round(ms);
}

/** Nothing lost, nothing twice, nothing wrong, all healed. */
export function isGood({ lost, duplicated, mismatched, replicaKillHealMs, workerKillHealMs }: Summary): boolean {
  return lost === 0 && duplicated === 0 && mismatched === 0 && replicaKillHealMs !== null && workerKillHealMs !== null;
}

export function summaryTable(summary: Summary, colours: boolean): string {
  const heal = (ms: number | null) => (ms === null ? 'not healed' : span(ms));
  const rows: [string, string | number, string][] = [
    ['replicas', summary.replicas, 'one of them killed'],
    ['workers', summary.workers, 'one of them killed in the middle of a job'],
    ['jobs', summary.jobs, 'submitted'],
    ['succeeded', summary.succeeded, ''],
    ['retried', summary.retried, 'attempts repeated'],
    ['lost', summary.lost, 'submitted, and did not succeed'],
    ['duplicated', summary.duplicated, 'results accepted beyond one a job'],
    ['mismatched', summary.mismatched, "results other than the demo's own hash"],
    ['rate', `${summary.jobsPerSecond}/s`, ''],
    ['p50', span(summary.p50Ms), 'from submission to result'],
    ['p99', span(summary.p99Ms), ''],
    ['replica heal', heal(summary.replicaKillHealMs), 'until all its workers had another home'],
    ['worker heal', heal(summary.workerKillHealMs), 'until its job ran elsewhere'],
    ['attempts spent', summary.attemptsSpent, 'beyond one a job'],
  ];
  return table(['WHAT', 'RESULT', 'MEANS'], rows, colours);
}
