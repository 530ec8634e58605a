import { parentPort, workerData } from 'node:worker_threads';

/**
 * Ticks of a clock, as a thread: timers of a busy event loop are late by up to a millisecond even when nothing else is. The first message is
 * the time at which the clock starts (ns); then each tick's number. Ends after `ticks`, or when `over` is set.
 */
const { startsInNs, tickNs, ticks, over } = workerData;
const startNs = Number(process.hrtime.bigint()) + startsInNs;
parentPort?.postMessage(startNs);
for (let tick = 0; tick < ticks && Atomics.load(over, 0) === 0; tick++) {
  const ms = (startNs + tick * tickNs - Number(process.hrtime.bigint())) / 1e6;
  if (ms > 0) Atomics.wait(over, 0, 0, ms);
  parentPort?.postMessage(tick);
}
