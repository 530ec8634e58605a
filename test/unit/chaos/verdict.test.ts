import { describe, expect, test } from 'vitest';
import { LEGACY_POOL, POOL, tellsOfFault } from '../../chaos/fleet.js';
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
  return { operations: [{ ...operation, ...but.operation }], jobs, succeeded: but.succeeded ?? 1, notes: but.notes ?? [start, end], relinked: 0 };
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
      resent: 0,
      buried: 0,
    });
  });

  test('that was never acknowledged and is not there: nothing', () => {
    const { ackedAt: _, end: __, ...never } = operation;
    const unknown: Evidence = { ...evidence({ gone: true, succeeded: 0 }), operations: [{ ...never, outcome: 'unknown' }] };
    expect(judge(unknown)).toMatchObject({ lost: [], limbo: [], broken: [] });
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

  test('that ran twice: a re-run, if attempts or handovers tell of it', () => {
    const again = [{ ...start, fence: '6' }, start, end];
    expect(judge(evidence({ job: { attempt: 2 }, notes: again }))).toMatchObject({ reruns: { spent: 1, handedOver: 0 }, broken: [] });
    expect(judge(evidence({ job: { handovers: 1 }, notes: again }))).toMatchObject({ reruns: { spent: 0, handedOver: 1 }, broken: [] });
  });

  test('of the first contract, that ran more often than attempts and handovers tell: once for each new link and each new life', () => {
    const ran = (...lives: number[]) => lives.flatMap((life, i) => [1, 2].map((n) => ({ ...(n === 1 ? start : end), fence: `w ${i}`, life })));
    const given = (notes: Note[], relinked: number, but: Partial<JobLook> = {}) => {
      const legacy = { ...operation, pool: LEGACY_POOL };
      return judge({ ...evidence({ notes }), operations: [legacy], jobs: new Map([[LEGACY_POOL, new Map([['j', { ...job, ...but }]])]]), relinked });
    };
    expect(given(ran(1), 0)).toMatchObject({ resent: 0, broken: [] });
    expect(given(ran(1, 1), 1)).toMatchObject({ resent: 1, broken: [] });
    expect(given(ran(1, 2), 0)).toMatchObject({ resent: 1, broken: [] });
    expect(given(ran(1, 1), 0, { handovers: 1 })).toMatchObject({ resent: 0, broken: [] });
    expect(given(ran(1, 1), 0, { attempt: 2 })).toMatchObject({ resent: 0, broken: [] });
    expect(given(ran(1, 1), 0).broken.join()).toContain('L2 1 executions of the first contract');
    expect(given(ran(1, 2, 2), 0).broken.join()).toContain('L2 2 executions of the first contract');
  });

  const told = (state: string, right: boolean) => ({ end: { at: 2, state: `JOB_STATE_${state}`, right, attempt: 1 } });
  const { end: _, ...untold } = operation;
  const over = (state: string, but: Partial<JobLook> = {}, kind = 'slow') =>
    evidence({ operation: { ...told(state.toUpperCase(), false), kind }, job: { state, ...but }, succeeded: 0 });

  /** In each history one thing alone is wrong. */
  const VIOLATIONS: [kind: 'lost' | 'limbo' | 'broken', words: string, history: Evidence][] = [
    ['lost', 'j is gone', evidence({ gone: true, succeeded: 0 })],
    ['lost', 'its client was told otherwise', { ...evidence({}), operations: [untold] }],
    ['lost', 'its client was told otherwise', evidence({ operation: told('FAILED', true) })],
    ['limbo', 'j is waiting', evidence({ job: { state: 'waiting', done: 0 }, succeeded: 0 })],
    ['limbo', 'j is running', evidence({ job: { state: 'running', done: 0 }, succeeded: 0 })],
    ['broken', 'j was refused', evidence({ operation: { outcome: 'fail' } })],
    ['broken', 'L2 j ran 2 times', evidence({ notes: [{ ...start, fence: '6' }, start, end] })],
    ['broken', 'L2 j ran 3 times', evidence({ notes: [{ ...start, fence: '5' }, { ...start, fence: '6' }, start, end], job: { attempt: 2 } })],
    ['broken', 'I4 begun twice: j 7', evidence({ notes: [start, start, end], job: { handovers: 1 } })],
    [
      'broken',
      'I4 begun twice: j 7 on w',
      evidence({
        notes: [
          { ...start, life: 1 },
          { ...start, life: 2 },
          { ...end, life: 2 },
        ],
        job: { handovers: 1 },
      }),
    ],
    ['broken', 'j brought another result', evidence({ operation: told('SUCCEEDED', false) })],
    ['broken', 'under a fence that nobody ended', evidence({ notes: [start] })],
    ['broken', 'under a fence that nobody ended', evidence({ notes: [start, end], job: { done: 8 } })],
    ['broken', 'j is failed too early', over('failed')],
    ['broken', 'j is failed too early', over('failed', { attempt: 9, handovers: 4 })],
    ['broken', 'j is failed too early', over('failed', { attempt: 2 }, 'poison')],
    ['broken', 'j is expired too early', over('expired')],
    ['broken', 'j is cancelled too early', over('cancelled')],
    ['broken', '1 jobs succeeded, 0 were counted', evidence({ succeeded: 0 })],
  ];

  test.each(VIOLATIONS)('%s: %s, and nothing else', (kind, words, history) => {
    const { lost, limbo, broken, duplicated } = judge(history);
    expect({ lost, limbo, broken, duplicated }).toEqual({
      ...{ lost: [], limbo: [], broken: [], duplicated: 0 },
      [kind]: [expect.stringContaining(words)],
    });
  });

  test('duplicated: results beyond one a job, and nothing else', () => {
    expect(judge(evidence({ succeeded: 2 }))).toMatchObject({ duplicated: 1, lost: [], limbo: [], broken: [] });
    expect(judge({ ...over('failed', { attempt: 10 }), succeeded: 1 })).toMatchObject({ duplicated: 1, lost: [], limbo: [], broken: [] });
  });

  test('that had all its attempts: buried, which is explained', () => {
    expect(judge(over('failed', { attempt: 10 }))).toMatchObject({ buried: 1, broken: [], lost: [] });
    expect(judge(over('failed', { attempt: 3 }, 'poison'))).toMatchObject({ buried: 1, broken: [], lost: [] });
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

describe('a loss that was declared, from 10 to 20', () => {
  const loss = { from: 10, to: 20 };
  const { end: _, ...untold } = operation;

  test.each([
    ['acknowledged within it, gone', { ackedAt: 15 }, 0],
    ['acknowledged before it, gone', { ackedAt: 9 }, 1],
    ['acknowledged after it, gone', { ackedAt: 21 }, 1],
  ])('%s', (_name, but, lost) => {
    const operations = [{ ...untold, ...but }];
    expect(judge({ ...evidence({ gone: true, succeeded: 0 }), operations, loss }).lost).toHaveLength(lost);
  });

  test('a job under way in it may be done again, and end otherwise than was told; one that was over before, or begun after, may not', () => {
    const again = [{ ...start, fence: '5' }, { ...start, fence: '6' }, start, end];
    const told = (at: number) => ({ at, state: 'JOB_STATE_FAILED', right: true, attempt: 1 });
    const broken = (but: Partial<Operation>) => {
      const { lost, broken: found } = judge({ ...evidence({ operation: but, notes: again }), loss });
      return { lost: lost.length, broken: found.length };
    };
    expect(broken({ invokedAt: 0, end: told(15) })).toEqual({ lost: 0, broken: 0 });
    expect(broken({ invokedAt: 15, end: told(30) })).toEqual({ lost: 0, broken: 0 });
    expect(broken({ invokedAt: 0, end: told(9) })).toEqual({ lost: 1, broken: 1 });
    expect(broken({ invokedAt: 21, end: told(30) })).toEqual({ lost: 1, broken: 1 });
  });

  test('a fence that came twice is no loss', () => {
    const other = { ...operation, id: 'k' };
    const jobs = new Map([[POOL, new Map([job, { ...job }].map((one, i) => [i === 0 ? 'j' : 'k', one]))]]);
    const notes = [start, end, { ...start, jobId: 'k' }, { ...end, jobId: 'k' }];
    expect(judge({ operations: [operation, other], jobs, succeeded: 2, notes, relinked: 0, loss }).broken.join()).toContain(
      'one fence for two jobs: 7',
    );
  });
});

test('a job that no worker can take, or that never ends, is over after one attempt; any other is tried again', () => {
  const failed = { end: { at: 2, state: 'JOB_STATE_FAILED', right: false, attempt: 1 } };
  const of = (kind: string) => judge(evidence({ operation: { ...failed, kind }, job: { state: 'failed' }, succeeded: 0 }));
  for (const kind of ['large', 'never']) expect(of(kind)).toMatchObject({ buried: 1, broken: [] });
  expect(of('slow').broken).toHaveLength(1);
});

test('a fault that takes long comes only when it is named', () => {
  const names = (only?: string) => chosen(only).map(({ name }) => name);
  expect(names('redis/outage-31s:10000')).toEqual(['outage-31s:10000']);
  for (const only of [undefined, 'redis', 'redis/outage']) expect(names(only)).not.toContain('outage-31s:10000');
  expect(names('redis/outage')).toEqual(['outage-31s']);
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
  const kinds = plan(chosen('redis'), 30, 1).map(({ fault }) => fault.fleet);
  const changes = kinds.filter((kind, i) => i > 0 && kind !== kinds[i - 1]).length;
  expect(changes, 'a fleet is started once for all faults that need it').toBe(new Set(kinds).size - 1);
});
