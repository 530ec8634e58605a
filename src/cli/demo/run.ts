import { setMaxListeners } from 'node:events';
import { systemRandom } from '../../domain/clock.js';
import { sdkClock } from '../../sdk/clock.js';
import { retrying } from '../../sdk/retrying.js';
import { Ended, Exit } from '../exit.js';
import { type Io, processIo } from '../io.js';
import { type Healed, injectFaults } from './faults.js';
import { defaultFolder, listFiles, OwnHashes } from './files.js';
import { Fleet, pollFor } from './fleet.js';
import { hints } from './hints.js';
import { Load } from './load.js';
import { Progress } from './progress.js';
import { isGood, type Summary, summarize, summaryTable } from './report.js';

export interface DemoOptions {
  /** The folder; default: node_modules. */
  path?: string;
  keep: boolean;
  /** Of kind sha256, at the least. */
  minJobs: number;
  replicas: number;
  output: 'table' | 'json';
}

/** The kills come once this part of the jobs is done. */
const WARM_UP_PART = 0.1;
const WARM_UP_MS = 60_000;
const CALL_MS = 2_000;
const GIVE_UP_MS = 10_000;

/**
 * The main job on real input: a Redis, replicas and workers as processes, every file of a folder hashed, one replica and one worker killed
 * meanwhile. Resolves with the exit code: 0 when nothing was lost, duplicated or wrong and all healed, else 1. Throws Ended when it was
 * interrupted, Error when something did not start or ended by itself; whatever was started is ended first.
 */
export async function runDemo(options: DemoOptions, io: Io = processIo()): Promise<number> {
  const files = listFiles(options.path ?? defaultFolder());
  const over = new AbortController();
  const { signal } = over;
  // Every call under way listens to it.
  setMaxListeners(0, signal);
  const release = io.onInterrupt(() => over.abort(new Ended(Exit.INTERRUPTED)));
  const progress = new Progress();
  const { tell } = progress;
  let keeping = false;
  // Once the work is done, whoever kills more of it should see what happens.
  const onLost = (error: Error) => (keeping ? tell(error.message) : over.abort(error));
  const fleet = new Fleet({ replicas: options.replicas, tell, signal, onLost });
  try {
    await fleet.start();
    signal.throwIfAborted();
    const summary = await work(options, fleet, files, progress, signal);
    signal.throwIfAborted();
    await io.out(options.output === 'json' ? `${JSON.stringify(summary)}\n` : summaryTable(summary, io.colours));
    keeping = options.keep;
    if (keeping) await keep(fleet, files, tell, signal);
    return isGood(summary) ? Exit.DONE : Exit.FAILED;
  } catch (error) {
    // What goes wrong after the first is a consequence; jobs under way are given up.
    if (!signal.aborted) over.abort(error);
    throw signal.reason;
  } finally {
    progress.stop();
    if (signal.aborted) tell('stopping everything');
    await fleet.stop();
    release();
  }
}

async function work({ minJobs }: DemoOptions, fleet: Fleet, files: string[], progress: Progress, signal: AbortSignal): Promise<Summary> {
  const { api } = fleet;
  const { tell } = progress;
  const wanted = Math.max(minJobs, files.length);
  tell(`${files.length} files, one job each${wanted > files.length ? `, over and over: ${wanted} at the least` : ''}`);
  const load = new Load({ api, files, hashes: new OwnHashes(), wanted, signal, tell });
  const { tally } = load;
  const start = performance.now();
  progress.start(tally, wanted);
  let healing = true;
  const faults = async (): Promise<Healed> => {
    try {
      await pollFor(async () => tally.hashed >= wanted * WARM_UP_PART, WARM_UP_MS, signal);
      return await injectFaults({ fleet, load, path: files[0] ?? '', tell, signal });
    } finally {
      healing = false;
    }
  };
  const [healed] = await Promise.all([faults(), load.run(() => healing)]);
  const tookMs = performance.now() - start;
  progress.stop();
  const ask = () => api.listPools({}, { deadlineMs: CALL_MS });
  const { pools } = await retrying(ask, { clock: sdkClock, random: systemRandom, giveUpMs: GIVE_UP_MS, signal });
  return summarize({ replicas: fleet.replicas.length, workers: fleet.workers.length, tally, tookMs, pools, healed });
}

/** Until Ctrl-C, which is the good end here. */
async function keep(fleet: Fleet, files: string[], tell: (line: string) => void, signal: AbortSignal): Promise<void> {
  for (const line of hints(fleet, files[0] ?? '')) tell(line);
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}
