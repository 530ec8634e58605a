import * as fc from 'fast-check';
import type { PoolState } from '../helpers/state.js';
import { ADDRESSES, type Call, type Contract, HOMES, JOBS, type LeaseArg, type SubmitJob, WHOLE, WORKERS } from './calls.js';

/**
 * What a sequence wants to do next. It becomes calls only when it is its turn, from the state that it finds: most leases, boots and links
 * it names are those that stand there, and some are stale. Numbers shrink to 0, and 0 is always the plainest choice.
 */
export interface Intent {
  op: Op;
  numbers: number[];
  /** The last call once more, as after a lost reply. */
  again: boolean;
}

/** What an intent sees. */
export interface Scene {
  state: PoolState;
  us: number;
  contract: Contract;
  /** Leases that stood at some time, the newest first, with the boot and link of then. */
  past: readonly (LeaseArg & { boot: string; link: string })[];
  trace: readonly Call[];
}

/** Choices out of an intent's numbers, in order; 0 when they are used up. */
class Dice {
  readonly #numbers: number[];

  constructor(numbers: readonly number[]) {
    this.#numbers = [...numbers];
  }

  below(n: number): number {
    return (this.#numbers.shift() ?? 0) % n;
  }

  /** One of them; the first is the plainest. */
  pick<T>(list: readonly [T, ...T[]]): T {
    return list[this.below(list.length)] ?? list[0];
  }

  pickOr<T>(list: readonly T[], fallback: T): T {
    return list[this.below(Math.max(1, list.length))] ?? fallback;
  }

  /** True in one of n, and false for 0. */
  oneIn(n: number): boolean {
    return this.below(n) === n - 1;
  }

  some<T>(most: number, make: () => T): T[] {
    return Array.from({ length: 1 + this.below(most) }, make);
  }
}

const LEGACY_METHOD = '/job.JobService/RunJob';
const HOUR_US = 3_600_000_000;

const home = (d: Dice) => d.pickOr(HOMES, 'r1');
const onRoll = (s: Scene) => Object.keys(s.state.workers);

/** A worker with the boot, link and home that stand there; sometimes with one of them wrong. */
function ref(s: Scene, d: Dice) {
  const worker = d.pickOr(onRoll(s), 'w1');
  const w = s.state.workers[worker];
  const right = { home: w?.home ?? 'r1', worker, boot: w?.boot ?? 'b1', link: w?.link ?? '1' };
  const wrong = d.below(8);
  if (wrong === 5) return { ...right, boot: 'b0' };
  if (wrong === 6) return { ...right, link: String(Math.max(0, Number(right.link) - 1)) };
  return wrong === 7 ? { ...right, home: home(d) } : right;
}

/** A lease that stands or is quarantined; one in six is of the past, or has a fence that never was. */
function lease(s: Scene, d: Dice): LeaseArg & { boot: string; link: string; home: string } {
  const now = Object.entries(s.state.held).flatMap(([worker, jobs]) =>
    Object.entries(jobs).map(([job, fence]) => ({ worker, job, fence: fence.replace('!', '') })),
  );
  const [one] = [d.below(6) < 5 && now.length > 0 ? d.pickOr(now, undefined) : d.pickOr(s.past, undefined)];
  const found = one ?? { worker: 'w1', job: 'j1', fence: '1' };
  const w = s.state.workers[found.worker];
  const old = s.past.find(({ fence }) => fence === found.fence);
  const wrong = d.below(12);
  const fence = wrong === 9 ? String(Number(found.fence) - 1) : found.fence;
  const boot = wrong === 10 ? 'b0' : wrong === 11 ? (old?.boot ?? 'b0') : (w?.boot ?? 'b1');
  return { worker: found.worker, job: found.job, fence, boot, link: wrong === 11 ? (old?.link ?? '') : (w?.link ?? '1'), home: w?.home ?? 'r1' };
}

function job(s: Scene, d: Dice): SubmitJob {
  const id = d.pickOr(JOBS, 'j1');
  const legacy = s.contract === 'LEGACY' ? LEGACY_METHOD : '/a.B/C';
  const named = d.oneIn(24) ? s.contract !== 'RUNNER' : s.contract === 'RUNNER';
  return {
    id,
    content: d.oneIn(12) ? 'other' : 'same',
    priority: d.pick([0, 0, 1, 3]),
    start: d.oneIn(6) ? Math.floor(s.us / 1000) + d.pick([1, 1_000, 6_000]) : 0,
    queueMs: d.pick([0, 0, 0, 1_500, 12_000, 50]),
    totalMs: d.pick([0, 0, 0, 3_000, 25_000, 50]),
    runMs: d.pick([300_000, 300_000, 2_000, 12_000, 200]),
    maxAttempts: d.pick([3, 1, 2]),
    initialMs: d.pick([1_000, 0, 7_000]),
    fatal: d.oneIn(6) ? [3, 14] : [],
    kind: named ? 'k' : '',
    method: named ? '' : legacy,
  };
}

function finish(s: Scene, d: Dice): Call {
  const first = lease(s, d);
  const results = [first, ...d.some(3, () => lease(s, d)).slice(1)].map((one) => {
    const { home: _, ...rest } = one;
    const ok = !d.oneIn(3);
    return {
      ...rest,
      link: d.oneIn(5) ? '' : rest.link,
      ok,
      code: d.pick([13, 3, 14]),
      retryable: !d.oneIn(4),
      ...(d.oneIn(4) ? { delayMs: d.pick([0, 500]) } : {}),
    };
  });
  return { do: 'finish', home: d.oneIn(6) ? home(d) : first.home, claims: !d.oneIn(5), results };
}

function beatLease(s: Scene, d: Dice): Call {
  const first = lease(s, d);
  const all = [first, ...d.some(3, () => lease(s, d)).slice(1)];
  const beats = all.map(({ worker, link, job: id, fence }) => ({
    worker,
    link,
    job: id,
    fence,
    ...(d.oneIn(2) ? { ranMs: d.pick([0, 900]) } : {}),
    open: d.oneIn(3),
  }));
  return { do: 'beat', home: d.oneIn(8) ? home(d) : first.home, leaving: false, beats };
}

function signs(s: Scene, d: Dice): Call {
  const by = home(d);
  const own = onRoll(s).filter((id) => s.state.workers[id]?.home === by || d.oneIn(6));
  const beats = own.map((worker) => ({ worker, link: s.state.workers[worker]?.link ?? '1', ageMs: d.pick([0, 0, 40, 9_000]) }));
  return { do: 'beat', home: by, leaving: d.oneIn(6), beats };
}

/** Time goes on and all is well but for the homes left out: beats and ticks come as they should. */
function pass(s: Scene, d: Dice): Call[] {
  const steps = d.pick([1, 2, 5, 9]);
  const silent = d.oneIn(3) ? home(d) : '';
  const vouch = d.oneIn(2);
  const calls: Call[] = [];
  for (let i = 1; i <= steps; i++) {
    calls.push({ do: 'clock', us: s.us + i * 4_000_000 + d.below(1000) });
    for (const by of HOMES.filter((id) => id !== silent)) {
      const kept = Object.entries(s.state.held).flatMap(([worker, jobs]) =>
        Object.entries(jobs).map(([id, fence]) => ({ worker, link: s.state.workers[worker]?.link ?? '', job: id, fence })),
      );
      calls.push({ do: 'beat', home: by, leaving: false, beats: vouch ? kept.filter(({ worker }) => s.state.workers[worker]?.home === by) : [] });
    }
    calls.push({ do: 'tick', home: 'r1', ...WHOLE });
  }
  return calls;
}

const RESOLVE = {
  submit: (s, d) => [{ do: 'submit', home: home(d), max: d.oneIn(8) ? 2 : 100, jobs: d.some(4, () => job(s, d)) }],
  register: (s, d) => {
    const worker = d.pickOr(WORKERS, 'w1');
    const w = s.state.workers[worker];
    const address = d.oneIn(8) ? d.pickOr(ADDRESSES, '10.0.0.1:1') : (ADDRESSES[WORKERS.indexOf(worker)] ?? '10.0.0.1:1');
    const boot = d.pick([w?.boot ?? 'b1', `b${1 + d.below(3)}`, `b${s.trace.length}`]);
    const contract = d.oneIn(16) ? d.pick<Contract>(['METHOD', 'LEGACY', 'RUNNER']) : s.contract;
    return [{ do: 'register', home: home(d), worker, boot, derived: d.oneIn(8), contract, address, slots: d.pick([1, 2, 3]) }];
  },
  finish: (s, d) => [finish(s, d)],
  release: (s, d) => {
    const leases = d
      .some(2, () => lease(s, d))
      .map(({ worker, job: id, fence, link }) => ({ worker, job: id, fence, link, blocked: d.oneIn(3), unreached: d.oneIn(3) }));
    return [{ do: 'release', home: home(d), leases }];
  },
  beat: (s, d) => [beatLease(s, d)],
  signs: (s, d) => [signs(s, d)],
  tick: (_, d) => [{ do: 'tick', home: home(d), limit: d.pick([100, 100, 2]), kept: d.pick([100, 100, 1]) }],
  pass,
  clock: (s, d) => [{ do: 'clock', us: s.us + d.pick([1, 7_001, 900_000, 3_000_000, 5_500_000, 20_000_000, 35_000_000]) + d.below(997) }],
  jump: (s, d) => {
    const us = s.us + d.pick([HOUR_US, -HOUR_US, -2_000_000, -20_000_000, 700_000_000]);
    return [{ do: 'clock', us }, ...(d.oneIn(3) ? [] : [{ do: 'tick' as const, home: 'r1', ...WHOLE }])];
  },
  probed: (s, d) => {
    const by = ref(s, d);
    const held = Object.entries(s.state.held[by.worker] ?? {}).map(([id, fence]) => ({ job: id, fence: fence.replace('!', '') }));
    const leases = held.filter(() => !d.oneIn(3)).map((one) => ({ ...one, what: d.pick<'lost' | 'idle'>(['idle', 'lost']) }));
    return [{ do: 'probed', ...by, ageMs: d.pick([0, 3_000]), busy: d.oneIn(3), leases }];
  },
  suspect: (s, d) => [{ do: 'suspect', ...ref(s, d), limit: d.pick([1, 2]) }],
  bury: (s, d) => {
    const by = ref(s, d);
    return [{ do: 'bury', ...by, boot: d.oneIn(4) ? '' : by.boot, evidenceMs: d.pick([0, 2_000]) }];
  },
  adopt: (s, d) => [{ do: 'adopt', ...ref(s, d), home: home(d) }],
  orphans: (_, d) => [{ do: 'orphans', home: home(d) }],
  forgetHomes: (_, d) => [{ do: 'forgetHomes', home: home(d), homes: HOMES }],
  drain: (s, d) => [{ do: 'drain', home: home(d), worker: d.pickOr(onRoll(s), 'w1'), on: !d.oneIn(2) }],
  deregister: (s, d) => {
    const { worker, boot } = ref(s, d);
    return [{ do: 'deregister', home: home(d), worker, boot: d.oneIn(4) ? '' : boot, ...(d.oneIn(2) ? { timeoutMs: 3_000 } : {}) }];
  },
  pause: (s, d) => [{ do: 'pause', home: home(d), on: d.oneIn(3) ? s.state.paused : !s.state.paused }],
  cancel: (_, d) => [{ do: 'cancel', home: home(d), jobs: d.some(2, () => d.pickOr(JOBS, 'j1')) }],
  retry: (s, d) => {
    const jobs = d
      .some(2, () => d.pickOr(Object.keys(s.state.buried), 'j1'))
      .map((id) => ({ id, ...(d.oneIn(2) ? { buriedAt: (s.state.buried[id] ?? 1) + d.pick([0, 1]) } : {}) }));
    return [{ do: 'retry', home: home(d), jobs }];
  },
  purge: (_, d) => [{ do: 'purge', home: home(d), scope: d.pick<'queued' | 'buried'>(['queued', 'buried']), limit: d.pick([50, 2]) }],
  mine: (_, d) => [{ do: 'mine', home: home(d) }],
  accept: (s, d) => {
    const first = lease(s, d);
    // A hint names no link; an assignment that grew old names the one that it was for.
    const linkOf = (link: string) => d.pick(['', link, String(Math.max(0, Number(link) - 1))]);
    const leases = [first, ...d.some(2, () => lease(s, d)).slice(1)].map(({ worker, link, job: id, fence }) => ({
      worker,
      link: linkOf(link),
      job: id,
      fence,
    }));
    return [{ do: 'accept', home: d.oneIn(4) ? home(d) : first.home, leases }];
  },
  workerBeat: (s, d) => {
    const { worker, boot, job: id, fence } = lease(s, d);
    return [{ do: 'workerBeat', home: home(d), worker, boot: d.oneIn(4) ? '' : boot, held: d.oneIn(6) ? [] : [{ job: id, fence }] }];
  },
  match: (_, d) => [{ do: 'match', home: home(d) }],
  expire: (s, d) => {
    const ended = Object.keys(s.state.jobs).filter((id) => ['succeeded', 'failed', 'cancelled', 'expired'].includes(s.state.jobs[id]?.state ?? ''));
    return ended.length > 0 ? [{ do: 'expire', job: d.pickOr(ended, 'j1') }] : [];
  },
  /** The ID of a job that was forgotten while a worker still has it in quarantine, for a job that goes straight to a free worker. */
  reuse: (s, d) => {
    const running = Object.keys(s.state.jobs).filter((id) => s.state.jobs[id]?.state === 'running');
    const quarantined = Object.values(s.state.held).flatMap((jobs) => Object.keys(jobs).filter((id) => jobs[id]?.startsWith('!')));
    const id = d.pickOr(quarantined.length > 0 ? quarantined : running, '');
    if (id === '') return [];
    const by = home(d);
    const forget: Call[] = id in s.state.jobs ? [{ do: 'expire', job: id }] : [];
    const ended = s.state.jobs[id]?.state !== 'running' && s.state.jobs[id]?.state !== 'waiting' && s.state.jobs[id]?.state !== 'scheduled';
    const cancel: Call[] = ended ? [] : [{ do: 'cancel', home: by, jobs: [id] }];
    return [...cancel, ...forget, { do: 'submit', home: by, max: 100, jobs: [{ ...job(s, d), id, start: 0 }] }];
  },
  replay: (s, d) => {
    const earlier = [...s.trace].reverse().filter((call) => !['clock', 'expire'].includes(call.do));
    const one = d.pickOr(earlier, undefined);
    return one ? [one] : [];
  },
} satisfies Record<string, (scene: Scene, dice: Dice) => Call[]>;

type Op = keyof typeof RESOLVE;

export function resolve({ op, numbers }: Intent, scene: Scene): Call[] {
  return RESOLVE[op](scene, new Dice(numbers));
}

/** How often each comes. */
const WEIGHTS: Record<Op, number> = {
  submit: 8,
  register: 5,
  finish: 8,
  release: 3,
  beat: 4,
  signs: 3,
  tick: 3,
  pass: 3,
  clock: 4,
  jump: 1,
  probed: 3,
  suspect: 1,
  bury: 1,
  adopt: 2,
  orphans: 1,
  forgetHomes: 1,
  drain: 2,
  deregister: 1,
  pause: 1,
  cancel: 2,
  retry: 2,
  purge: 1,
  mine: 2,
  accept: 2,
  workerBeat: 2,
  match: 1,
  expire: 1,
  reuse: 2,
  replay: 2,
};

const ops = Object.entries(WEIGHTS).map(([op, weight]) => ({ weight, arbitrary: fc.constant(op as Op) }));

export const intent: fc.Arbitrary<Intent> = fc.record({
  op: fc.oneof(...ops),
  numbers: fc.array(fc.nat(10_000), { minLength: 24, maxLength: 24 }),
  again: fc.integer({ min: 0, max: 5 }).map((n) => n === 5),
});

export interface Sequence {
  contract: Contract;
  profile: 'plain' | 'tombstones' | 'bounded';
  intents: Intent[];
}

/** A sequence of 5 to 40 intents in a pool of one family. */
export const sequence: fc.Arbitrary<Sequence> = fc.record({
  contract: fc.constantFrom<Contract>('RUNNER', 'RUNNER', 'METHOD', 'LEGACY'),
  profile: fc.constantFrom<Sequence['profile']>('plain', 'plain', 'tombstones', 'bounded'),
  intents: fc.array(intent, { minLength: 5, maxLength: 40, size: 'max' }),
});
