import { parentPort, workerData } from 'node:worker_threads';

/** Ticks of a clock, as a thread: timers of a busy event loop are late by up to a millisecond even when nothing else is. */
const { startNs, tickNs, ticks } = workerData;
const never = new Int32Array(new SharedArrayBuffer(4));
for (let tick = 0; tick < ticks; tick++) {
  const ms = (startNs + tick * tickNs - Number(process.hrtime.bigint())) / 1e6;
  if (ms > 0) Atomics.wait(never, 0, 0, ms);
  parentPort?.postMessage(tick);
}
