import { Code } from '../../domain/job.js';
import { type Check, names, tell, Violation } from './bench.js';
import type { End } from './types.js';

/** What every worker must do, however it is linked. */

export const kind: Check = {
  name: 'serves the kind',
  level: 'basic',
  remedy: 'add the kind muster.conform to the worker, as docs/workers.md describes it, or name another with --kind',
  async run(bench) {
    await bench.answer(bench.order({ echo: 'hello' }));
    await bench.answer(bench.order({ echo: 'again' }, { attempt: 2 }));
  },
};

export const failures: Check = {
  name: 'failures are told',
  level: 'basic',
  remedy: 'answer a failed job with a Failure: code not OK, retryable true unless repeating it is useless',
  async run(bench) {
    for (const permanent of [false, true]) {
      const end = await bench.end(bench.assign(bench.order({ fail: true, permanent, echo: 'x' })), bench.patienceMs, 'a job that fails');
      if (end.how !== 'failure') throw new Violation(`a job that fails ended otherwise: ${tell(end)}`);
      if (end.code === 0) throw new Violation('the Failure has the code OK');
      if (end.retryable === permanent) throw new Violation(`permanent: ${permanent} was told as retryable: ${end.retryable}`);
    }
  },
};

export const truth: Check = {
  name: 'says what it holds',
  level: 'basic',
  remedy: 'name in Probe (or Pong) exactly what runs or waits for its settlement, and be BUSY exactly while no slot is free',
  async run(bench, subject) {
    const see = () => subject.look();
    const before = await see();
    if (subject.contract === 'RUNNER' && before.workerId === '') throw new Violation('Probe does not say the worker_id');
    if (before.boot !== '' && subject.boot !== '' && before.boot !== subject.boot)
      throw new Violation(`Probe says the boot ${before.boot}, it registered with ${subject.boot}`);
    if (before.busy === true || (subject.contract === 'RUNNER' && before.busy === undefined)) throw new Violation('idle, it does not say FREE');
    if (before.held.length > 0) throw new Violation(`idle, it says that it holds ${before.held.length}`);
    const jobs = [];
    for (let taken = 1; taken <= subject.slots; taken++) {
      jobs.push(await bench.hold(2 * bench.holdMs + subject.slots * 20));
      const { busy, held, workerId, boot } = await see();
      if (held.length !== taken) throw new Violation(`it runs ${taken} and names ${held.length}`);
      if (held.some(({ done }) => done)) throw new Violation('what runs is named as done');
      if (workerId !== before.workerId) throw new Violation(`worker_id was ${before.workerId} and is ${workerId}`);
      if (boot !== before.boot) throw new Violation(`boot was ${before.boot} and is ${boot}`);
      const full = taken === subject.slots;
      if (subject.contract === 'RUNNER' && busy !== full)
        throw new Violation(`with ${taken} of ${subject.slots} slots taken it says ${busy ? 'BUSY' : 'FREE'}`);
    }
    for (const { attempt, order } of jobs) bench.read(await bench.end(attempt, 4 * bench.holdMs + bench.patienceMs, 'a held job'), order);
    const idle = async () => {
      const { busy, held } = await see();
      return busy !== true && held.length === 0;
    };
    if (!(await bench.until(idle, bench.patienceMs))) throw new Violation('after the jobs ended it goes on saying BUSY, or naming them');
  },
};

export const drain: Check = {
  name: 'drains',
  level: 'basic',
  remedy: 'on SIGTERM: say Deregister (or Goodbye), take nothing new, finish what is held, have it settled, then end',
  async run(bench, subject) {
    const end = bench.now() + bench.stopWithinMs;
    for (;;) {
      const order = bench.order({ sleep_ms: bench.holdMs, echo: 'last' });
      const attempt = bench.assign(order);
      const early = await bench.held(attempt).catch(async (error: unknown) => {
        // It may have gone between the two.
        if (subject.leaving || (await subject.gone())) return 'gone' as const;
        throw error;
      });
      if (early !== undefined) break;
      await bench.stop();
      bench.read(await bench.end(attempt, bench.holdMs + bench.patienceMs, 'what it held when it was told to stop'), order);
      if (subject.leaving || (await subject.gone())) break;
      if (bench.now() > end) throw new Violation(`nothing of a stop was seen within ${bench.stopWithinMs} ms (was it sent SIGTERM?)`);
    }
    if (subject.leaving === false) throw new Violation(subject.contract === 'RUNNER' ? 'it ended without Deregister' : 'it ended without Goodbye');
    if (!(await bench.until(() => subject.gone(), bench.endingMs))) throw new Violation('it finished what it held, and then did not end');
  },
};

export const abort: Check = {
  name: 'stops what is aborted',
  level: 'full',
  remedy: 'end the work at Abort (or Cancel), answer its Execute (or send its Result) and free the slot; an unknown attempt is OK',
  async run(bench, subject) {
    const { attempt } = await bench.hold(bench.longMs);
    await subject.abort(attempt);
    const end = await bench.end(attempt, bench.patienceMs, 'an aborted job');
    if (end.how === 'output') throw new Violation('an aborted job of long duration answered an output at once');
    const free = async () => {
      const sight = await subject.look();
      return sight.busy !== true && names(sight, attempt) === undefined;
    };
    if (!(await bench.until(free, bench.patienceMs))) throw new Violation('the slot of an aborted job is not free again');
    await subject.abort(bench.order({})).catch((error: unknown) => {
      throw new Violation(`aborting what it does not know was refused: ${error instanceof Error ? error.message : String(error)}`);
    });
    await subject.look();
  },
};

export const stale: Check = {
  name: 'refuses a stale fence',
  level: 'full',
  remedy: 'remember the newest fence seen of each job, and refuse smaller ones with FAILED_PRECONDITION',
  async run(bench, subject) {
    const older = bench.order({ echo: 'older' });
    const newer = bench.order({ echo: 'newer' }, { jobId: older.jobId, attempt: 2 });
    const { runs } = await bench.answer(newer);
    // An attached worker may also say nothing: Pong then tells that it does not run.
    const end = await bench.within(bench.assign(older).end, subject.contract === 'ATTACHED' ? bench.holdMs : bench.patienceMs);
    const again = (await bench.runs()) - runs - 1;
    if (again > 0) throw new Violation('an attempt with an older fence than one already seen of its job was run');
    if (end === undefined && subject.contract === 'ATTACHED') return;
    const code = end?.how === 'refused' || end?.how === 'failure' ? end.code : 0;
    if (end?.how === 'failure' && subject.contract === 'RUNNER') throw new Violation(`a stale fence was answered with a result: ${tell(end)}`);
    if (code !== Code.FAILED_PRECONDITION) throw new Violation(`a stale fence was answered with ${end === undefined ? 'nothing' : tell(end)}`);
  },
};

export const supersede: Check = {
  name: 'a newer fence supersedes',
  level: 'full',
  // An attached worker is never given more than it has slots for.
  applies: ({ contract, slots }) => contract === 'RUNNER' || slots > 1,
  remedy: 'when a greater fence of a job comes, abort the older attempt; RESOURCE_EXHAUSTED until its slot is free, then run the newer one',
  async run(bench, subject) {
    const { attempt: older, order } = await bench.hold(bench.longMs);
    const end = bench.now() + bench.longMs / 2;
    for (;;) {
      const newer = bench.order({ echo: 'newer' }, { jobId: order.jobId, attempt: 2 });
      const ended = await bench.end(bench.assign(newer), bench.patienceMs, 'a newer attempt of a job that runs');
      const full = (ended.how === 'refused' || ended.how === 'failure') && ended.code === Code.RESOURCE_EXHAUSTED;
      if (!full) {
        bench.read(ended, newer);
        break;
      }
      if (bench.now() > end) throw new Violation('the older attempt goes on, and the newer one is refused');
    }
    let last: End | undefined;
    void older.end.then((value) => {
      last = value;
    });
    // An attached worker need not tell the end of what is no longer its own, but then it does not name it either.
    const over = async () => names(await subject.look(), older) === undefined;
    if (!(await bench.until(over, bench.patienceMs))) throw new Violation('the older attempt runs on beside the newer one');
    if (last?.how === 'output') throw new Violation('the older attempt ended with an output, long before its time');
  },
};

export const unknown: Check = {
  name: 'refuses an unknown kind',
  level: 'full',
  remedy: 'answer a kind that the worker does not know with UNIMPLEMENTED (attached: a Failure with that code)',
  async run(bench, subject) {
    const end = await bench.end(bench.assign(bench.order({}, { kind: 'muster.conform.unknown' })), bench.patienceMs, 'a job of an unknown kind');
    const wanted = subject.contract === 'RUNNER' ? 'refused' : 'failure';
    if (end.how !== wanted || end.code !== Code.UNIMPLEMENTED) throw new Violation(`an unknown kind was answered with ${tell(end)}`);
  },
};

export const timeout: Check = {
  name: 'keeps the run timeout',
  level: 'full',
  remedy: 'count run_timeout from receipt; when it is over, abort the work and answer a Failure with DEADLINE_EXCEEDED, retryable',
  async run(bench, subject) {
    const started = bench.now();
    const attempt = bench.assign(bench.order({ sleep_ms: bench.longMs, echo: 'late' }, { runTimeoutMs: bench.holdMs }));
    const end = await bench.end(attempt, bench.holdMs + bench.patienceMs, `a job of ${bench.longMs} ms with a run timeout of ${bench.holdMs} ms`);
    if (end.how !== 'failure' || end.code !== Code.DEADLINE_EXCEEDED || !end.retryable)
      throw new Violation(`a job over its time ended otherwise: ${tell(end)}`);
    // A timer may fire a little early.
    if (bench.now() - started < bench.holdMs * 0.9) throw new Violation('its time was cut short');
    const free = async () => names(await subject.look(), attempt) === undefined;
    if (!(await bench.until(free, bench.patienceMs))) throw new Violation('the work goes on after its time');
  },
};
