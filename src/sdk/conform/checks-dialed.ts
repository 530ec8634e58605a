import { Code } from '../../domain/job.js';
import { codeName } from '../api-error.js';
import { type Check, names, tell, Violation } from './bench.js';
import type { DialedSubject } from './dialed.js';

/** What a worker must do that replicas dial. */
export const dialedBasic: Check<DialedSubject>[] = [
  {
    name: 'takes no more than its slots',
    level: 'basic',
    remedy: 'count what runs; with every slot taken answer Execute with RESOURCE_EXHAUSTED at once, and let what runs go on',
    async run(bench, { slots }) {
      const jobs = [];
      const ms = 2 * bench.holdMs + slots * 20;
      for (let taken = 0; taken < slots; taken++) jobs.push(await bench.hold(ms));
      const end = await bench.within(bench.assign(bench.order({ echo: 'one too many' })).end, bench.holdMs);
      if (end === undefined) throw new Violation(`with all ${slots} slots taken, Execute was not answered at once`);
      if (end.how !== 'refused') throw new Violation(`with all ${slots} slots taken, Execute was answered with ${tell(end)}`);
      if (end.code !== Code.RESOURCE_EXHAUSTED) throw new Violation(`refused with ${codeName(end.code)} instead of RESOURCE_EXHAUSTED`);
      for (const { attempt, order } of jobs) bench.read(await bench.end(attempt, ms + bench.patienceMs, 'what ran when another was refused'), order);
    },
  },
];

export const dialedFull: Check<DialedSubject>[] = [
  {
    name: 'joins a running attempt',
    level: 'full',
    remedy: 'keep what runs by (job_id, fence): the same pair again waits for the same run, whatever slots are taken',
    async run(bench) {
      const before = await bench.runs();
      const { attempt, order } = await bench.hold(bench.holdMs);
      const second = bench.assign(order);
      const ends = await Promise.all([attempt, second].map((one) => bench.end(one, bench.holdMs + bench.patienceMs, 'one of two Executes')));
      const [first, again] = ends.map((end) => bench.read(end, order).runs);
      const ran = (await bench.runs()) - before - 1;
      if (ran !== 1 || first !== again) throw new Violation(`two Executes of one (job, fence) made ${ran} runs`);
    },
  },
  {
    name: 'answers again what it did',
    level: 'full',
    remedy: 'remember the last results by (job_id, fence), some hundred at the least, and answer the same pair from there',
    async run(bench) {
      const order = bench.order({ echo: 'once' });
      const first = await bench.answer(order);
      const again = await bench.answer(order);
      const ran = (await bench.runs()) - first.runs;
      if (ran !== 1 || again.runs !== first.runs) throw new Violation(`Execute again, after its end, ran the (job, fence) again (${ran} runs)`);
    },
  },
  {
    name: 'an attempt outlives its call',
    level: 'full',
    remedy: 'do not bind the work to the call: when it breaks off, go on, name it in Probe, and answer the next Execute of that (job, fence)',
    async run(bench, subject) {
      const before = await bench.runs();
      const { attempt, order } = await bench.hold(bench.holdMs);
      attempt.cut();
      await attempt.end;
      if (names(await subject.look(), attempt) === undefined) throw new Violation('after its call was cut the attempt is not named any more');
      const done = async () => names(await subject.look(), attempt)?.done;
      if (!(await bench.until(done, bench.holdMs + bench.patienceMs)))
        throw new Violation('its result, which nobody has come for, is not named as held and done');
      const { runs } = await bench.answer(order);
      if (runs !== before + 1) throw new Violation('another home that came for the result made it run again');
      const fetched = async () => names(await subject.look(), attempt) === undefined;
      if (!(await bench.until(fetched, bench.patienceMs))) throw new Violation('a result that was fetched goes on being named as held');
    },
  },
];
