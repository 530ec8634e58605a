import type { Call } from './load.js';

/** What a drill found; a row of the table. */
export interface Verdict {
  jobs: number;
  /** No end came, or it was not this job's own, or no worker says that it ran. */
  lost: number;
  /** Begun more than once, anywhere. */
  twice: number;
  /** Ended with an error for the caller. */
  failed: number;
  /** Attempts beyond the first that were given to a worker. */
  spent: number;
  /** The longest time without any result, in ms. */
  worstGapMs: number;
  /** Changes of replica by workers; those where the stream broke before there was another. */
  moves: number;
  cuts: number;
  /** What is wrong with single jobs, in words. */
  complaints: string[];
}

const COMPLAINTS = 20;

/** Holds what clients saw against what workers wrote (see worker.ts). */
export function judge(calls: readonly Call[], workerLog: string): Verdict {
  const lines = workerLog.split('\n').filter((line) => line !== '');
  const words = lines.map((line) => line.split(' '));
  const of = (what: string) => words.filter(([first]) => first === what);
  const starts = new Map<string, string[][]>();
  for (const start of of('start')) starts.set(start[1] ?? '', [...(starts.get(start[1] ?? '') ?? []), start]);
  const ended = new Set(of('end').map(([, id]) => id));
  const complaints: string[] = [];
  const complain = (call: Call, what: string) => {
    const said = lines.filter((line) => line.split(' ')[1] === call.id);
    if (complaints.length < COMPLAINTS) complaints.push(`${call.id}: ${what}\n  ${said.join('\n  ')}`);
  };
  const verdict = { jobs: calls.length, lost: 0, twice: 0, failed: 0, spent: 0 };
  for (const call of calls) {
    const begun = starts.get(call.id) ?? [];
    if (begun.length > 1) {
      verdict.twice++;
      complain(call, `begun ${begun.length} times`);
    }
    const spent = Math.max(0, ...begun.map(([, , , attempt]) => Number(attempt) - 1));
    verdict.spent += spent;
    if (spent > 0) complain(call, `begun as attempt ${spent + 1}`);
    if (call.end !== undefined && 'error' in call.end) {
      verdict.failed++;
      complain(call, `failed: ${String(call.end.error)}`);
    } else if (call.end?.output !== call.n || !ended.has(call.id)) {
      verdict.lost++;
      complain(call, call.end === undefined ? 'no end came' : `its end came as ${JSON.stringify(call.end.output)}`);
    }
  }
  const workers = new Set(of('attached').map(([, worker]) => worker)).size;
  return { ...verdict, worstGapMs: worstGap(calls), moves: of('attached').length - workers, cuts: of('cut').length, complaints };
}

/** Is there nothing that a rolling restart must not cost? */
export function isClean({ lost, twice, failed, spent, jobs }: Verdict): boolean {
  return jobs > 0 && lost + twice + failed + spent === 0;
}

function worstGap(calls: readonly Call[]): number {
  const times = calls.flatMap(({ end }) => (end === undefined ? [] : [end.at])).sort((a, b) => a - b);
  return Math.round(times.reduce((worst, at, i) => Math.max(worst, at - (times[i - 1] ?? at)), 0));
}
