import { describe, expect, test } from 'vitest';
import { POOL, tellsOfFault } from '../../chaos/fleet.js';
import type { Operation } from '../../chaos/history.js';
import type { JobLook } from '../../chaos/look.js';
import { chosen, FAULTS, plan } from '../../chaos/schedule.js';
import { type Evidence, judge } from '../../chaos/verdict.js';
import type { Note } from '../../helpers/handlers.js';

const operation: Operation = {
  pool: POOL,
  id: 'j',
  kind: 'slow',
  payload: '5',
  invokedAt: 0,
  ackedAt: 1,
  end: { at: 2, state: 'JOB_STATE_SUCCEEDED', right: true, attempt: 1 },
};
const job: JobLook = { state: 'succeeded', attempt: 1, handovers: 0, fence: 7, done: 7, finished: 9, worker: 'w' };
const start: Note = { event: 'start', worker: 'w', jobId: 'j', fence: '7', attempt: 1, how: '', at: 0 };
const end: Note = { ...start, event: 'end', how: 'done' };

/** One job that went well, but for what is said. */
function evidence(but: {
  operation?: Partial<Operation>;
  job?: Partial<JobLook> | undefined;
  gone?: true;
  notes?: Note[];
  succeeded?: number;
}): Evidence {
  const jobs = new Map([[POOL, new Map([['j', but.gone ? undefined : { ...job, ...but.job }]])]]);
  return { operations: [{ ...operation, ...but.operation }], jobs, succeeded: but.succeeded ?? 1, notes: but.notes ?? [start, end] };
}

describe('the verdict on a job', () => {
  test('that went well: nothing', () => {
    expect(judge(evidence({}))).toEqual({
      jobs: 1,
      lost: [],
      duplicated: 0,
      limbo: [],
      broken: [],
      reruns: { spent: 0, handedOver: 0 },
      otherLives: 0,
      buried: 0,
    });
  });

  test('that was acknowledged and is gone: lost; that was not: nothing', () => {
    expect(judge(evidence({ gone: true, succeeded: 0 })).lost).toHaveLength(1);
    const { ackedAt: _, end: __, ...never } = operation;
    const unknown: Evidence = { ...evidence({ gone: true, succeeded: 0 }), operations: [{ ...never, outcome: 'unknown' }] };
    expect(judge(unknown)).toMatchObject({ lost: [], limbo: [], broken: [] });
  });

  test('whose client was told nothing, or something else: lost', () => {
    const { end: _, ...untold } = operation;
    expect(judge({ ...evidence({}), operations: [untold] }).lost).toHaveLength(1);
    expect(judge(evidence({ operation: { end: { at: 2, state: 'JOB_STATE_FAILED', right: false, attempt: 1 } } })).lost).toHaveLength(1);
  });

  test('whose client died before it was told: it must be over, and nobody can say more', () => {
    const { end: _, ...untold } = operation;
    const orphan: Operation = { ...untold, orphan: true };
    expect(judge({ ...evidence({}), operations: [orphan] })).toMatchObject({ lost: [], limbo: [], broken: [] });
    expect(judge({ ...evidence({ gone: true, succeeded: 0 }), operations: [orphan] }).lost).toHaveLength(1);
    expect(judge({ ...evidence({ job: { state: 'running' }, succeeded: 0 }), operations: [orphan] }).limbo).toHaveLength(1);
    // What it was told before it died counts.
    const told: Operation = { ...operation, orphan: true, end: { at: 2, state: 'JOB_STATE_FAILED', right: false, attempt: 1 } };
    expect(judge({ ...evidence({}), operations: [told] }).lost).toHaveLength(1);
  });

  test('that is not over: in limbo', () => {
    expect(judge(evidence({ job: { state: 'waiting', done: 0 }, succeeded: 0 })).limbo).toHaveLength(1);
  });

  test('that was accepted twice: duplicated; that ran twice: a re-run, if attempts or handovers tell of it', () => {
    expect(judge(evidence({ succeeded: 2 })).duplicated).toBe(1);
    const again = [{ ...start, fence: '6' }, start, end];
    expect(judge(evidence({ job: { attempt: 2 }, notes: again }))).toMatchObject({ reruns: { spent: 1, handedOver: 0 }, broken: [] });
    expect(judge(evidence({ job: { handovers: 1 }, notes: again }))).toMatchObject({ reruns: { spent: 0, handedOver: 1 }, broken: [] });
    expect(judge(evidence({ notes: again })).broken).toHaveLength(1);
  });

  test('that another life of its worker began under the same fence: told apart, and no violation', () => {
    const lives = [
      { ...start, life: 1 },
      { ...start, life: 2 },
      { ...end, life: 2 },
    ];
    expect(judge(evidence({ notes: lives }))).toMatchObject({ otherLives: 1, broken: [] });
    expect(judge(evidence({ notes: lives.map((note) => ({ ...note, life: 1 })) })).broken).not.toEqual([]);
  });

  test.each([
    ['brought another result', evidence({ operation: { end: { at: 2, state: 'JOB_STATE_SUCCEEDED', right: false, attempt: 1 } } })],
    ['was refused', evidence({ operation: { outcome: 'fail' } })],
    ['under a fence that nobody ended', evidence({ notes: [start] })],
    ['begun twice', evidence({ notes: [start, start, end], job: { handovers: 1 } })],
    [
      'too early',
      evidence({ operation: { end: { at: 2, state: 'JOB_STATE_FAILED', right: false, attempt: 1 } }, job: { state: 'failed' }, succeeded: 0 }),
    ],
    ['were counted', evidence({ succeeded: 0 })],
  ])('%s: broken', (words, given) => {
    expect(judge(given).broken.join()).toContain(words);
  });

  test('that had all its handovers: buried, which is explained', () => {
    const failed = { end: { at: 2, state: 'JOB_STATE_FAILED', right: false, attempt: 1 } };
    expect(judge(evidence({ operation: failed, job: { state: 'failed', handovers: 5 }, succeeded: 0 }))).toMatchObject({
      buried: 1,
      broken: [],
      lost: [],
    });
  });
});

test('a lost check is pardoned only where a replica stands still or Redis is out of its reach; nothing else is', () => {
  const lost = '{"level":50,"msg":"could not renew lock for job 7"}';
  expect([tellsOfFault(lost, true), tellsOfFault(lost, false)]).toEqual([false, true]);
  const others = ['{"level":50,"msg":"x"}', '{"level":60,"msg":"x"}', 'TypeError: x', '{"level":30,"msg":"x"}'];
  expect(others.map((line) => tellsOfFault(line, true))).toEqual([true, true, true, false]);
  const pardoned = FAULTS.filter(({ cutsOff }) => cutsOff).map(({ group, name }) => `${group}/${name}`);
  expect(pardoned).toEqual(
    expect.arrayContaining(['kills/replica:stop-1-lease', 'redis/outage-31s', 'links/redis:drop', 'failpoints/tick-reply:stop']),
  );
  // A replica that is killed says nothing; what happens to others leaves it where it was.
  const never = /^(workers\/|links\/(?!redis:)|failpoints\/.*:exit|kills\/(client|runner|attached|legacy|replica:kill))/;
  expect(pardoned.filter((name) => never.test(name))).toEqual([]);
});

test('the same seed is the same plan, another is another, and each fault comes before any comes twice', () => {
  const names = (seed: number) => plan(FAULTS, 20, seed).map(({ fault, seed: own }) => `${fault.group}/${fault.name} ${own}`);
  expect(names(5)).toEqual(names(5));
  expect(names(5)).not.toEqual(names(6));
  const links = chosen('links');
  const planned = plan(links, links.length, 1);
  expect(new Set(planned.map(({ fault }) => fault.name)).size).toBe(links.length);
  expect(chosen('links/redis:').map(({ name }) => name)).toContain('redis:drop-replies');
  expect(chosen('nothing')).toEqual([]);
});
