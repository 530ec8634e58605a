import { afterAll, expect, test } from 'vitest';
import { ownRedis } from '../helpers/redis.js';
import { type Call, type CallOf, type SubmitJob, WHOLE } from './calls.js';
import { Harness, START_US } from './harness.js';

/** Interleavings in which a script was wrong once, as random sequences found them. All properties are checked after each call too. */
const redis = await ownRedis();
const harness = await Harness.open(redis.url, ['plain']);
afterAll(() => harness.close());

const START = START_US / 1000;
const FENCE = START_US;

const at = (ms: number): Call => ({ do: 'clock', us: START_US + ms * 1000 });
const tick: CallOf<'tick'> = { do: 'tick', home: 'r1', ...WHOLE };
const mine: Call = { do: 'mine', home: 'r1' };

function job(id: string, more: Partial<SubmitJob> = {}): SubmitJob {
  const times = { start: 0, queueMs: 0, totalMs: 0, runMs: 300_000, maxAttempts: 3, initialMs: 1_000 };
  return { id, content: 'x', priority: 0, ...times, fatal: [], kind: 'k', method: '', ...more };
}

const submit = (...jobs: SubmitJob[]): Call => ({ do: 'submit', home: 'r1', max: 100, jobs });

function register(more: Partial<CallOf<'register'>> = {}): Call {
  return { do: 'register', home: 'r1', worker: 'w1', boot: 'b1', derived: false, contract: 'RUNNER', address: '10.0.0.1:1', slots: 1, ...more };
}

const lease = (id: string, fence: number) => ({ worker: 'w1', job: id, fence: String(fence) });
const ref = { home: 'r1', worker: 'w1', boot: 'b1', link: '1' };

function finish(...leases: { worker: string; job: string; fence: string }[]): Call {
  const results = leases.map((one) => ({ ...one, boot: 'b1', link: '1', ok: true, code: 0, retryable: false }));
  return { do: 'finish', home: 'r1', claims: true, results };
}

/** r1 says that it lives, and vouches for these leases of w1. */
const beat = (...leases: { worker: string; job: string; fence: string; ranMs?: number }[]): Call => ({
  do: 'beat',
  home: 'r1',
  leaving: false,
  beats: leases.map((one) => ({ ...one, link: '1' })),
});
const sign: Call = { do: 'beat', home: 'r1', leaving: false, beats: [{ worker: 'w1', link: '1', ageMs: 0 }] };

/** Every 4 s from one time to another: r1 lives, and a tick. */
function quiet(fromMs: number, toMs: number): Call[] {
  const calls: Call[] = [];
  for (let ms = fromMs; ms <= toMs; ms += 4_000) calls.push(at(ms), beat(), tick);
  return calls;
}

test('a batch that frees two slots of a worker fills both', async () => {
  const jobs = ['j1', 'j2', 'j3', 'j4'].map((id) => job(id));
  const { last, state } = await harness.replay([register({ slots: 2 }), submit(...jobs), finish(lease('j1', FENCE), lease('j2', FENCE + 1))]);
  expect(last.assignments).toEqual([`j3 ${FENCE + 2} w1 1 1`, `j4 ${FENCE + 3} w1 1 1`]);
  expect(state.workers['w1']).toMatchObject({ state: 'busy' });
});

test('a batch that frees two slots of a worker for one job leaves it listed', async () => {
  const jobs = ['j1', 'j2', 'j3'].map((id) => job(id));
  const { state } = await harness.replay([register({ slots: 2 }), submit(...jobs), finish(lease('j1', FENCE), lease('j2', FENCE + 1))]);
  expect(state.workers['w1']).toMatchObject({ state: 'free', listed: true });
  expect(state.free).toEqual(['w1']);
});

test('a worker that gets the next attempt of what it has in quarantine keeps its other slot listed', async () => {
  const vouched = [register({ slots: 2 }), submit(job('j1', { runMs: 2_000 })), beat(lease('j1', FENCE))];
  const { state } = await harness.replay([...vouched, tick, at(2_000), beat(), tick, at(3_100), beat(), tick]);
  expect(state.jobs['j1']).toMatchObject({ state: 'running', attempt: 2 });
  expect(state.free).toEqual(['w1']);
});

test('leases from before time ran back an hour are due within 30 s, though no tick saw the time before', async () => {
  const { state } = await harness.replay([register(), submit(job('j1')), beat(lease('j1', FENCE)), at(-3_600_000), tick]);
  expect(state).toMatchObject({ leases: { j1: START + 30_000 }, ticked: START, shift: 3_600_000 });
});

test('leases written while time was an hour ahead between two ticks are due within 30 s', async () => {
  const glitch = [at(3_600_000), beat(lease('j1', FENCE)), at(1_000)];
  const { state } = await harness.replay([register(), submit(job('j1', { runMs: 9_000_000 })), tick, ...glitch, tick]);
  expect(state).toMatchObject({ leases: { j1: START + 3_630_000 }, ticked: START + 3_600_000 });
});

test('a step forward takes off at once what a step back added, whichever script sees it first', async () => {
  const stepped = [register(), submit(job('j1')), tick, at(-2_000), tick, at(18_000)];
  const { state } = await harness.replay([...stepped, beat(lease('j1', FENCE)), beat(lease('j1', FENCE))]);
  expect(state).toMatchObject({ homes: { r1: START + 18_000 }, clock: START + 18_000, shift: 0 });
});

test('the quarantine of a METHOD worker is not cut short by an outage', async () => {
  const running = [register({ contract: 'METHOD' }), submit(job('j1', { kind: '', method: '/a.B/C' })), tick];
  const { state } = await harness.replay([...running, { do: 'cancel', home: 'r1', jobs: ['j1'] }, at(10_000), tick]);
  expect(state.leases[`!${FENCE} w1 j1`]).toBe(START + 60_000);
});

test('an undelivered lease is asked for in the grace, though time ran back behind it', async () => {
  const { last } = await harness.replay([register(), tick, submit(job('j1')), at(-20_000), tick, mine]);
  expect(last.assignments).toEqual([`j1 ${FENCE} w1 1 1`]);
});

test('a leaving worker does not die in the grace, and does after it', async () => {
  const leaving: Call[] = [
    register(),
    submit(job('j1')),
    beat(lease('j1', FENCE)),
    tick,
    { do: 'deregister', home: 'r1', worker: 'w1', boot: '', timeoutMs: 1_000 },
  ];
  const during = await harness.replay([...leaving, at(3_600_000), tick]);
  expect(during.state.workers['w1']).toMatchObject({ state: 'draining', leaving: true });
  const after = await harness.replay([...leaving, at(3_600_000), tick, ...quiet(3_604_000, 3_616_000)]);
  expect(after.state.workers['w1']).toMatchObject({ state: 'dead' });
});

test('a worker that was suspect before time ran back is back with its next sign of life', async () => {
  const { state } = await harness.replay([register(), tick, { do: 'suspect', ...ref, limit: 1 }, at(-3_600_000), tick, at(-3_599_999), sign]);
  expect(state.workers['w1']).toMatchObject({ state: 'free' });
});

test('a worker heard before time ran back can be buried after the grace', async () => {
  const late = quiet(-3_596_000, -3_584_000);
  const { last } = await harness.replay([register(), tick, at(-3_600_000), tick, ...late, { do: 'bury', ...ref, evidenceMs: 1_000 }]);
  expect(last.reply).toBe('buried');
});

test('a job handed back after its queue timeout ends, and is not given out again', async () => {
  const calls = [register(), submit(job('j1', { queueMs: 1_500 })), tick, at(4_000), beat(), tick, at(5_000), beat(), tick];
  const { state } = await harness.replay(calls);
  expect(state.jobs['j1']).toMatchObject({ state: 'expired', handovers: 1, attempt: 0 });
});

test('a leaving worker that was suspect gets no job when it is back', async () => {
  const busy: Call[] = [register({ slots: 2 }), submit(job('j1')), { do: 'deregister', home: 'r1', worker: 'w1', boot: 'b1' }];
  const { state } = await harness.replay([...busy, { do: 'suspect', ...ref, limit: 1 }, at(1), sign, submit(job('j2'))]);
  expect(state.workers['w1']).toMatchObject({ state: 'draining' });
  expect(state.jobs['j2']).toMatchObject({ state: 'waiting' });
});

test('an ID that is used again over its quarantined slot takes that slot, and no other', async () => {
  const forgotten: Call[] = [
    { do: 'cancel', home: 'r1', jobs: ['j1'] },
    { do: 'expire', job: 'j1' },
  ];
  const { state } = await harness.replay([register({ slots: 2 }), submit(job('j1')), ...forgotten, submit(job('j1'))]);
  expect(state.held['w1']).toEqual({ j1: String(FENCE + 1) });
  expect(state.workers['w1']).toMatchObject({ state: 'free', listed: true });
  expect(state.free).toEqual(['w1']);
});

test('a run timeout that is shorter than the time until deliveries are confirmed spends its attempt, and gives the job to nobody else meanwhile', async () => {
  const short = job('j1', { runMs: 300, maxAttempts: 1 });
  const second = register({ worker: 'w2', address: '10.0.0.2:1' });
  const before = await harness.replay([register(), second, submit(short), tick, at(600), beat(), tick]);
  expect(before.state.jobs['j1']).toMatchObject({ state: 'running', attempt: 1, handovers: 0, fence: String(FENCE) });
  const confirmed = beat({ ...lease('j1', FENCE), ranMs: 590 });
  const { state } = await harness.replay([register(), second, submit(short), tick, at(600), confirmed, tick]);
  expect(state.jobs['j1']).toMatchObject({ state: 'failed', attempt: 1, handovers: 0 });
  expect(state.held['w1']).toEqual({ j1: `!${FENCE}` });
});

test('a run timeout counts from the moment at which the lease was sent', async () => {
  const sent = beat({ ...lease('j1', FENCE), ranMs: 100 });
  const { state } = await harness.replay([register(), submit(job('j1', { runMs: 2_000 })), at(4_000), sent, tick]);
  expect(state.jobs['j1']).toMatchObject({ state: 'running', started: START + 3_900 });
  expect(state.leases['j1']).toBe(START + 5_900);
});

test('a worker whose drain timeout is over before its lease was confirmed has had an attempt', async () => {
  const leaving: Call = { do: 'deregister', home: 'r1', worker: 'w1', boot: '', timeoutMs: 0 };
  const { state } = await harness.replay([register(), submit(job('j1', { maxAttempts: 1 })), tick, leaving, at(1), tick]);
  expect(state.jobs['j1']).toMatchObject({ state: 'failed', attempt: 1, handovers: 0 });
});

test('no job is given out after its queue timeout, though no tick has seen it', async () => {
  const { last, state } = await harness.replay([submit(job('j1', { queueMs: 50 }), job('j2')), at(60), register()]);
  expect(last.assignments).toEqual([`j2 ${FENCE + 60_000} w1 1 1`]);
  expect(state.jobs['j1']).toMatchObject({ state: 'expired', attempt: 0 });
});

test('forgetting an old dead letter leaves the job alone that came under its id after retention', async () => {
  const failed = { ...lease('j1', FENCE), boot: 'b1', link: '', ok: false, code: 3, retryable: false };
  const buried: Call[] = [register(), submit(job('j1')), { do: 'finish', home: 'r1', claims: false, results: [failed] }, { do: 'expire', job: 'j1' }];
  const { state } = await harness.replay([...buried, submit(job('j1')), { ...tick, kept: 0 }]);
  expect(state.jobs['j1']).toMatchObject({ state: 'running' });
  expect(state.buried).toEqual({});
});

test('a worker that was suspect before time ran back, in a pool that was not ticked yet, is back with its next sign of life', async () => {
  const late: Call[] = [register(), at(6_001), { do: 'orphans', home: 'r2' }, at(-14_000), tick, sign];
  const { state } = await harness.replay(late);
  expect(state.workers['w1']).toMatchObject({ state: 'free' });
});
