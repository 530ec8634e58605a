import { beforeEach, expect, test } from 'vitest';
import { UNOBSERVED } from '../../../src/domain/observer.js';
import type { Store } from '../../../src/store/store.js';
import { failure, StoreFixture } from '../../helpers/store-fixture.js';

/** What a replica learns of its own script calls beside their replies, and how long jobs had waited. */
const fixture = new StoreFixture();

let told: string[];
let timed: string[];
beforeEach(() => {
  told = [];
  timed = [];
});

function observed(home: string): Promise<Store> {
  return fixture.store(home, {
    observer: {
      ...UNOBSERVED,
      happened: (_pool, { kind, subject, fields }) => told.push([kind, subject, ...Object.entries(fields).map((entry) => entry.join('='))].join(' ')),
      redis: (sort, what, ms) => timed.push(`${sort} ${what} ${ms >= 0}`),
    },
  });
}

test('a worker that is suspected and buried, and the dead letter that its end makes, are told with their reasons, once', async () => {
  const p = await fixture.pool();
  const store = await observed('seen');
  await store.enter(p.name);
  const lease = await p.leased('j1', 'w1', {
    by: store,
    job: { retry: { maxAttempts: 1, initialBackoffMs: 1, maxBackoffMs: 1, multiplier: 1, fatalCodes: [] } },
  });
  const ref = { pool: p.name, id: lease.worker, boot: lease.boot, link: lease.link };
  expect(told).toEqual(['worker.registered w1 address=10.0.0.1:1 contract=RUNNER']);
  await store.workers.suspect(ref, 1, 'silent');
  await store.workers.suspect(ref, 1, 'silent');
  await p.at(10);
  await store.workers.bury(ref, 0, 'refused');
  await store.workers.bury(ref, 0, 'refused');
  expect(told.slice(1)).toEqual(['worker.suspect w1 reason=silent', 'job.buried j1 reason=worker_lost attempt=1', 'worker.dead w1 reason=refused']);
});

test('workers of a dead home that the search for orphans suspects are told too', async () => {
  const p = await fixture.pool();
  const store = await observed('searching');
  await p.worker('w1');
  await p.at(60_000);
  await store.workers.orphans(p.name, '0', 10);
  expect(told).toEqual(['worker.suspect w1 reason=home_gone']);
});

test('every call is timed under the name of its script, or of what it reads', async () => {
  const p = await fixture.pool();
  const store = await observed('timing');
  await store.enter(p.name);
  await p.submit([p.spec()], { by: store });
  await store.readPools([p.name]);
  expect(timed).toContain('script submit true');
  expect(timed).toContain('read pools true');
});

test.each([
  ['given at once', {}, 0, 0],
  ['that waited', {}, 700, 700],
  ['whose start was in the past', { notBefore: 1 }, 700, 700],
])('a job %s says how long', async (_, fields, ms, waited) => {
  const p = await fixture.pool();
  if (ms === 0) await p.worker();
  const submitted = await p.job('j1', fields);
  await p.at(ms);
  const assignments = ms === 0 ? submitted.assignments : (await p.r1.workers.register(p.info(), false)).assignments;
  expect(assignments.map(({ jobId, waitedMs }) => [jobId, waitedMs])).toEqual([['j1', waited]]);
  // Asked for again it had not waited longer.
  await p.at(ms + 50);
  expect((await p.r1.jobs.mine(p.name, 0, 10)).assignments.map(({ waitedMs }) => waitedMs)).toEqual([waited]);
});

test('a job with a start counts from there, and a result tells when its job was submitted', async () => {
  const p = await fixture.pool();
  const start = (await p.submit([])).now + 2_000;
  await p.job('j1', { notBefore: start });
  await p.worker();
  await p.at(2_300);
  const { assignments } = await p.r1.jobs.tick(p.name, { limit: 10, finishedKept: 10, buriedKept: 10 });
  expect(assignments.map(({ waitedMs }) => waitedMs)).toEqual([300]);
  const lease = await p.lease({ pool: p.name, id: 'w1', boot: 'w1-b1', link: '1' }, 'j1');
  const { reply } = await p.finish([p.result(lease, failure())]);
  expect(reply[0]).toMatchObject({ verdict: 'accepted', createdAt: start - 2_000 });
});
