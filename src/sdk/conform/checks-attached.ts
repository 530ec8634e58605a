import type { AttachedSubject } from './attached.js';
import { type Bench, type Check, names, Violation } from './bench.js';
import type { Attempt, Lease } from './types.js';

/** What a worker must do that attaches. */
/** Timers may fire a little before their time. */
const EARLY_MS = 5;

export const attachedBasic: Check<AttachedSubject>[] = [
  {
    name: 'runs as many as its slots',
    level: 'basic',
    remedy: 'start every assignment as it comes, and say in Hello no more slots than that',
    async run(bench, subject) {
      const ms = 2 * bench.holdMs;
      const started = bench.now();
      const orders = Array.from({ length: subject.slots }, () => bench.order({ sleep_ms: ms, echo: 'side by side' }));
      const attempts = orders.map((order) => bench.assign(order));
      for (const attempt of attempts) await bench.held(attempt);
      for (const [i, attempt] of attempts.entries())
        bench.read(await bench.end(attempt, ms * subject.slots + bench.patienceMs, 'one of many'), orders[i] ?? bench.order({}));
      const took = bench.now() - started;
      if (subject.slots > 1 && took >= 2 * ms - EARLY_MS)
        throw new Violation(`${subject.slots} jobs of ${ms} ms took ${Math.round(took)} ms: one after another`);
      const due = await bench.until(() => subject.arrived.length >= attempts.length, bench.patienceMs);
      if (!due) throw new Violation('not every job has a result');
    },
  },
  {
    name: 'beats for what it holds',
    level: 'basic',
    remedy: 'send Beat at least every beat_interval of Welcome while anything is held, naming all of it',
    async run(bench, subject) {
      const { attempt } = await bench.hold(4 * bench.holdMs);
      const before = subject.beats.length;
      const named = () => subject.beats.slice(before).some((beat) => beat.some((lease) => same(lease, attempt)));
      if (!(await bench.until(named, 3 * bench.holdMs))) throw new Violation('no Beat named what it holds within three beat intervals');
      await bench.end(attempt, 4 * bench.holdMs + bench.patienceMs, 'a held job');
    },
  },
];

export const attachedFull: Check<AttachedSubject>[] = [
  {
    name: 'runs an assignment once',
    level: 'full',
    remedy: 'keep what runs, and what is not settled, by (job_id, fence): the same pair again starts nothing',
    async run(bench, subject) {
      const before = await bench.runs();
      const { attempt, order } = await bench.hold(bench.holdMs);
      subject.assign(order);
      bench.read(await bench.end(attempt, bench.holdMs + bench.patienceMs, 'a job assigned twice'), order);
      const idle = async () => (await subject.look()).held.length === 0;
      await bench.until(idle, bench.holdMs + bench.patienceMs);
      const ran = (await bench.runs()) - before - 1;
      if (ran !== 1) throw new Violation(`a (job, fence) that was assigned twice ran ${ran} times`);
    },
  },
  {
    name: 'keeps results until settled',
    level: 'full',
    remedy: 'forget a result only at Settled; name it in Hello with done=true, and send it again after Welcome',
    async run(bench, subject) {
      const before = await bench.runs();
      await unsettled(subject, async () => {
        const order = bench.order({ echo: 'kept' });
        const attempt = bench.assign(order);
        bench.read(await bench.end(attempt, bench.patienceMs, 'a job'), order);
        if (!names(await subject.look(), attempt)?.done) throw new Violation('a result that is not settled is not named in Pong as held and done');
        const stream = await nextStream(bench, subject, () => subject.cut());
        if (!stream.held.some((lease) => same(lease, attempt) && lease.done)) throw new Violation('Hello does not name the unsettled result as done');
        const again = () => subject.arrived.some((result) => same(result, attempt) && result.stream === stream);
        if (!(await bench.until(again, bench.patienceMs))) throw new Violation('the unsettled result did not come again over the next stream');
        subject.settle(attempt);
        const forgotten = async () => names(await subject.look(), attempt) === undefined;
        if (!(await bench.until(forgotten, bench.patienceMs))) throw new Violation('a settled result goes on being named');
      });
      const ran = (await bench.runs()) - before - 1;
      if (ran !== 1) throw new Violation(`the job ran ${ran} times`);
    },
  },
  {
    name: 'goes on over a broken stream',
    level: 'full',
    remedy: 'do not bind the work to the stream: attach again, name what runs in Hello, send its result there',
    async run(bench, subject) {
      const before = await bench.runs();
      const { attempt, order } = await bench.hold(outlasting(bench));
      const stream = await nextStream(bench, subject, () => subject.cut());
      await moved(bench, subject, attempt, stream);
      bench.read(await bench.end(attempt, outlasting(bench) + bench.patienceMs, 'what ran when the stream broke'), order);
      const ran = (await bench.runs()) - before - 1;
      if (ran !== 1) throw new Violation(`the job ran ${ran} times`);
    },
  },
  {
    name: 'stops what is revoked',
    level: 'full',
    remedy: 'at Revoke stop the work, and name it in Received with done=true when it has stopped',
    async run(bench, subject) {
      const { attempt } = await bench.hold(bench.longMs);
      subject.revoke(attempt);
      const told = () => subject.stopped.some((lease) => same(lease, attempt));
      if (!(await bench.until(told, bench.patienceMs))) throw new Violation('Received with done=true for what was revoked did not come');
      const over = async () => names(await subject.look(), attempt) === undefined;
      if (!(await bench.until(over, bench.patienceMs))) throw new Violation('what was revoked runs on');
    },
  },
  {
    name: 'makes before it breaks',
    level: 'full',
    remedy: 'at Reattach open another stream, say Hello with all that is held, and end the old one only after Welcome; what runs goes on',
    async run(bench, subject) {
      const before = await bench.runs();
      const { attempt, order } = await bench.hold(outlasting(bench));
      const old = subject.stream;
      const stream = await nextStream(
        bench,
        subject,
        () => subject.askToReattach(bench.holdMs),
        () => {
          if (old?.ended !== undefined) throw new Violation('it ended the old stream before it had opened the new one');
        },
      );
      await moved(bench, subject, attempt, stream);
      if (!(await bench.until(() => old?.ended, bench.patienceMs))) throw new Violation('it did not end the old stream after Welcome on the new one');
      bench.read(await bench.end(attempt, outlasting(bench) + bench.patienceMs, 'what ran when it moved'), order);
      if (!subject.arrived.some((result) => same(result, attempt) && result.stream === stream))
        throw new Violation('the result did not come over the new stream');
      const ran = (await bench.runs()) - before - 1;
      if (ran !== 1) throw new Violation(`the job ran ${ran} times`);
    },
  },
  {
    name: 'says nothing out of turn',
    level: 'full',
    remedy: 'one Hello a stream, and results only of what was assigned',
    async run(_bench, { breaches }) {
      if (breaches.length > 0) throw new Violation([...new Set(breaches)].join('; '));
    },
  },
];

function same(a: Lease, b: Lease): boolean {
  return a.jobId === b.jobId && a.fence === b.fence;
}

async function unsettled(subject: AttachedSubject, during: () => Promise<void>): Promise<void> {
  subject.settles = false;
  try {
    await during();
  } finally {
    subject.settles = true;
    for (const { jobId, fence } of new Set(subject.arrived)) if (!subject.hasSettled({ jobId, fence })) subject.settle({ jobId, fence });
  }
}

/** The stream that the worker opens because of that; `meanwhile` is called until it is there. */
async function nextStream(bench: Bench, subject: AttachedSubject, cause: () => void, meanwhile: () => void = () => {}) {
  const before = subject.streams.length;
  cause();
  let failure: unknown;
  const come = await bench.until(() => {
    if (subject.streams.length > before) return subject.streams.at(-1);
    try {
      meanwhile();
    } catch (error) {
      failure = error;
    }
    return undefined;
  }, 2 * bench.patienceMs);
  if (failure !== undefined) throw failure;
  if (come === undefined) throw new Violation('it did not open another stream');
  return come;
}

/** Longer than a worker takes to open its next stream. */
function outlasting({ holdMs, patienceMs }: Bench): number {
  return 3 * holdMs + patienceMs / 2;
}

async function moved(bench: Bench, subject: AttachedSubject, attempt: Attempt, stream: Awaited<ReturnType<typeof nextStream>>): Promise<void> {
  if (!stream.held.some((lease) => same(lease, attempt))) throw new Violation('its Hello on the next stream does not name what runs');
  // Should it have ended by now, its result came.
  const came = () => subject.arrived.some((result) => same(result, attempt) && result.stream === stream);
  const goes = async () => came() || names(await subject.look(), attempt);
  if (!(await bench.until(goes, bench.patienceMs))) throw new Violation('over the next stream it does not name what runs');
}
