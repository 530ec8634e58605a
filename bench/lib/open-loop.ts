import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { Histogram } from 'hdr-histogram-js';
import { type Driven, histogram, type Subject } from './rounds.js';

const PACER = new URL('../processes/pacer.mjs', import.meta.url);
const TICK_NS = 1e6;
/** From the pacer's start until its first tick. */
const LEAD_NS = 5e6;
const TICKS_A_SECOND = 1e9 / TICK_NS;

export interface OpenlyDriven extends Driven {
  /** µs from when a job was to be sent until it was. */
  late: Histogram;
}

/**
 * Sends jobs at that rate (a second), whatever has become of those before. What falls into one millisecond, by Poisson, is to be sent together
 * at its beginning. Latencies count from then: what waits because the client or anybody else is late is not left out. Ends after so many
 * seconds, or when `signal` aborts.
 */
export async function driveOpenly(subject: Subject, rate: number, seconds: number, signal?: AbortSignal): Promise<OpenlyDriven> {
  if (!('job' in subject)) throw new Error(`${subject.name} has no open loop`);
  const latencies = histogram();
  const late = histogram();
  const jobs: Promise<void>[] = [];
  let startNs = 0;
  const send = async (intendedNs: number, lane: number) => {
    record(late, nowNs() - intendedNs);
    await subject.job(lane);
    record(latencies, nowNs() - intendedNs);
  };
  const over = new Int32Array(new SharedArrayBuffer(4));
  const pacer = new Worker(PACER, { workerData: { startsInNs: LEAD_NS, tickNs: TICK_NS, ticks: seconds * TICKS_A_SECOND, over } });
  const stop = () => void Atomics.store(over, 0, 1);
  signal?.addEventListener('abort', stop, { once: true });
  [startNs] = (await once(pacer, 'message')) as [number];
  pacer.on('message', (tick: number) => {
    for (let n = poisson(rate / TICKS_A_SECOND); n > 0; n--) jobs.push(send(startNs + tick * TICK_NS, jobs.length));
  });
  await once(pacer, 'exit');
  signal?.removeEventListener('abort', stop);
  await Promise.all(jobs);
  return { latencies, late, seconds: (nowNs() - startNs) / 1e9 };
}

function record(into: Histogram, ns: number): void {
  into.recordValue(Math.max(1, Math.round(ns / 1_000)));
}

function nowNs(): number {
  return Number(process.hrtime.bigint());
}

/** By Knuth: for means that are not large. */
function poisson(mean: number): number {
  const limit = Math.exp(-mean);
  let n = 0;
  for (let product = Math.random(); product > limit; product *= Math.random()) n++;
  return n;
}
