import type { Foreign } from '../lib/foreign.js';
import { type Driven, histogram, type Subject } from '../lib/rounds.js';

/** What our own programs in other languages write once they can be used: the whole line, as the next one is an answer. */
export const READY = /^ready\n/m;

/**
 * A subject whose submitter is a program in another language. A turn is a line on its stdin, `<jobs outstanding> <milliseconds>`; once the
 * last job has ended it answers with one line, `<µs that took> <latency in µs> <latency> …`. When anything is wrong it says so on stderr and
 * ends. `programs`: all of its processes but Redis, the submitter last. Between turns they are stopped, so that what they do with nothing
 * to do (polls, heartbeats, timers) falls into nobody else's turn. `restless`: those that are not: a broker that asks another process with
 * deadlines takes its answers for late when it goes on, and what came with them is lost.
 */
export function foreign(name: string, programs: Foreign[], more: string[] = [], restless = false): Subject {
  const submitter = programs.at(-1);
  if (submitter === undefined) throw new Error(`${name} has no submitter`);
  const pause = () => {
    if (restless) return;
    for (const program of programs) program.pause();
  };
  pause();
  return {
    name,
    processes: [...programs.flatMap(({ pids }) => [...pids.keys()]), ...more],
    async drive(outstanding, seconds) {
      for (const program of programs) program.resume();
      const answer = await submitter.ask(`${outstanding} ${seconds * 1_000}`);
      pause();
      return driven(answer);
    },
    close: async () => undefined,
  };
}

function driven(line: string): Driven {
  const [us = Number.NaN, ...each] = line.split(' ').map(Number);
  const latencies = histogram();
  for (const latency of each) latencies.recordValue(Math.max(1, latency));
  if (!(us > 0) || each.length === 0) throw new Error(`a submitter answered: ${line.slice(0, 100)}`);
  return { latencies, seconds: us / 1_000_000 };
}
