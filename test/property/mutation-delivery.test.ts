import { expect, test } from 'vitest';
import { systemClock } from '../../src/domain/clock.js';
import type { Assignment } from '../../src/domain/job.js';
import type { Link } from '../../src/domain/link.js';
import { UNOBSERVED } from '../../src/domain/observer.js';
import { Dispatcher } from '../../src/jobs/dispatcher.js';
import type { Finisher } from '../../src/jobs/finisher.js';
import { Matching } from '../../src/jobs/matching.js';
import { Running } from '../../src/jobs/running.js';
import { keys } from '../../src/store/keys.js';
import type { JobScripts } from '../../src/store/scripts/jobs.js';
import { settled } from '../helpers/fake-clock.js';
import { StoreFixture, type TestPool } from '../helpers/store-fixture.js';
import { until } from '../helpers/until.js';

/**
 * What a replica sends must stand when it is sent: an assignment that it slept over, and a hint that comes late, may have moved to another
 * worker. `accept` is what knows. A hint has nothing to send in it, so it cannot do without; an assignment that grew old can.
 */
const fixture = new StoreFixture();
const ACCEPT_AGE_MS = 4_000;
const MOVED_MS = 15_000;

/** w1 of r1 was given j1, r1 did not look, and j1 runs on w2 of r2 now. What r1 was told at first. */
async function moved(p: TestPool): Promise<Assignment[]> {
  await p.worker('w1');
  const { assignments } = await p.job('j1');
  await p.r1.workers.drain(p.name, 'w1', true);
  await p.worker('w2', {}, p.r2);
  await p.pass(0, MOVED_MS);
  expect(await p.raw.hget(keys.job(p.name, 'j1'), 'worker')).toBe('w2');
  expect(assignments).toHaveLength(1);
  return assignments;
}

interface Sender {
  dispatcher: Dispatcher;
  sent: Assignment[];
  asked: () => number;
}

/** A replica's dispatcher with a link to w1 that only notes what it is given. */
function sender(p: TestPool, jobs: JobScripts, acceptAgeMs = ACCEPT_AGE_MS): Sender {
  const sent: Assignment[] = [];
  let asked = 0;
  const never = (): never => {
    throw new Error('nothing here ends or is given back');
  };
  const link: Link = {
    ...{ ref: { pool: p.name, id: 'w1', boot: 'w1-b1', link: '1' }, contract: 'RUNNER', address: { ip: '10.0.0.1', port: 1 }, heardAt: 0 },
    ...{ openCalls: 0, isOpen: () => false, probe: never, abort: never, close: never },
    assign: (assignment) => void sent.push(assignment),
  };
  const accept: JobScripts['accept'] = (...args) => jobs.accept(...args).finally(() => asked++);
  const matching = new Matching({
    ...{ jobs, clock: systemClock, deliveryMs: 5_000, onError: never },
    ask: () => undefined,
    deliver: (assignments, calledAt) => dispatcher.deliver(assignments, calledAt),
  });
  const dispatcher = new Dispatcher({
    ...{ jobs: Object.assign(Object.create(jobs), { accept }), matching, running: new Running(), clock: systemClock },
    ...{ acceptAgeMs, batchMax: 10, maxQueue: 10, observer: UNOBSERVED, onDoubtful: never, onAborted: never, onError: never, openLink: never },
    finisher: { release: never, settle: never } as unknown as Finisher,
    links: { get: (_, id) => (id === 'w1' ? link : undefined), carrying: () => undefined },
  });
  return { dispatcher, sent, asked: () => asked };
}

/** Of what was sent, what did not stand. */
async function stale(p: TestPool, sent: readonly Assignment[]): Promise<Assignment[]> {
  const held = await Promise.all(sent.map(({ worker, jobId }) => p.raw.hget(keys.held(p.name, worker), jobId)));
  return sent.filter(({ fence }, i) => held[i] !== fence);
}

const slept = () => systemClock.monotonic() - MOVED_MS;

test('an assignment that grew old is asked for again, and not sent when its lease has moved', async () => {
  const p = await fixture.pool();
  const assignments = await moved(p);
  const { dispatcher, sent, asked } = sender(p, p.r1.jobs);
  dispatcher.deliver(assignments, slept());
  await until(() => asked() === 1);
  await settled();
  expect(sent).toEqual([]);
});

test('the same without accept would be noticed: it is sent to a worker that does not hold it', async () => {
  const p = await fixture.pool();
  const assignments = await moved(p);
  const { dispatcher, sent } = sender(p, p.r1.jobs, Number.POSITIVE_INFINITY);
  dispatcher.deliver(assignments, slept());
  await settled();
  expect(await stale(p, sent)).toHaveLength(1);
});

test('a hint that comes late is asked for, and nothing is sent when its lease has moved', async () => {
  const p = await fixture.pool();
  const [hinted] = await moved(p);
  const { dispatcher, sent, asked } = sender(p, p.r1.jobs);
  dispatcher.ask({ pool: p.name, worker: 'w1', jobId: 'j1', fence: hinted?.fence ?? '', link: '' });
  await until(() => asked() === 1);
  await settled();
  expect(sent).toEqual([]);
});

test('accept that answers without looking would be noticed: a hint that comes late is sent', async () => {
  const p = await fixture.pool();
  let changed = 0;
  const mutate = (source: string) =>
    source.replace(/local valid = w\.home[\s\S]*?== fence_\n +and [^\n]*== fence_/, () => {
      changed++;
      return 'local valid = true';
    });
  const blind = await fixture.store('r1', { mutate });
  expect(changed).toBe(1);
  const [hinted] = await moved(p);
  const { dispatcher, sent } = sender(p, blind.jobs);
  dispatcher.ask({ pool: p.name, worker: 'w1', jobId: 'j1', fence: hinted?.fence ?? '', link: '' });
  await until(() => sent.length === 1);
  expect(await stale(p, sent)).toHaveLength(1);
});
