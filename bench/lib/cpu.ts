import { readFileSync } from 'node:fs';

/** USER_HZ is 100 wherever Linux runs Node: one tick is 10 ms. */
const TICK_US = 10_000;

/** CPU time of a process so far, its threads included, in µs. Throws when it is gone, or this is not Linux. */
export function cpuUs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name, in parentheses, may hold anything; utime and stime are the 12th and 13th fields after it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_US;
}

/** Memory that a process has now. */
export function rssBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1_024;
}

/** CPU time that the whole machine has spent on anything so far, in µs. */
export function machineUs(): number {
  const [, user, nice, system, , , irq, softirq, steal] = (readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '').split(/\s+/).map(Number);
  return ((user ?? 0) + (nice ?? 0) + (system ?? 0) + (irq ?? 0) + (softirq ?? 0) + (steal ?? 0)) * TICK_US;
}

/** Reads the CPU time of some processes now, and what they and all others spent between two such readings. */
export class CpuReading {
  /** Monotonic ms. */
  readonly at = performance.now();
  readonly #machine = machineUs();
  readonly #us: Map<string, number>;

  constructor(pids: ReadonlyMap<string, number>) {
    this.#us = new Map([...pids].map(([name, pid]) => [name, cpuUs(pid)]));
  }

  /** µs of each since `before`; of both readings' processes. */
  since(before: CpuReading): Map<string, number> {
    return new Map([...this.#us].filter(([name]) => before.#us.has(name)).map(([name, us]) => [name, us - (before.#us.get(name) ?? us)]));
  }

  /** Cores that processes outside of this reading used since `before`. */
  othersSince(before: CpuReading): number {
    const own = [...this.since(before).values()].reduce((sum, us) => sum + us, 0);
    const wallUs = (this.at - before.at) * 1_000;
    return Math.max(0, this.#machine - before.#machine - own) / wallUs;
  }
}
