import { expect, test } from 'vitest';
import { keys } from '../../../src/store/keys.js';
import { StoreFixture } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture();

test('the workers of a dead home are found and are suspect, at 6 s and not at 1 ms less', async () => {
  const p = await fixture.pool();
  await p.leased('j1', 'w1', { by: p.r2 });
  await p.worker('w2', {}, p.r1);
  await p.at(5_999);
  await p.r1.workers.beat(p.name, [], false);
  expect(await p.during(() => p.r1.workers.orphans(p.name, '0', 100))).toEqual({ value: { cursor: '0', orphans: [] }, diff: {} });
  await p.at(6_000);
  const { value, diff } = await p.during(() => p.r1.workers.orphans(p.name, '0', 100));
  expect(value).toEqual({ cursor: '0', orphans: [{ pool: p.name, id: 'w1', boot: 'w1-b1', link: '1', home: 'r2', ageMs: 6_000 }] });
  expect(diff).toEqual({
    events: '+ worker.suspect w1 reason=home_gone',
    'worker:w1.reason': '+ home_gone',
    'worker:w1.state': 'busy → suspect',
    'worker:w1.suspected': '+ t+6000',
  });
  const again = await p.during(() => p.r1.workers.orphans(p.name, '0', 100));
  expect([again.value.orphans.length, again.diff]).toEqual([1, {}]);
});

test('page by page, the whole roll', async () => {
  const p = await fixture.pool();
  // More than a compact sorted set holds: only then does Redis page at all.
  for (let i = 1; i <= 200; i++) await p.worker(`w${i}`, {}, p.r2);
  await p.at(6_000);
  const seen = new Set<string>();
  let pages = 0;
  let cursor = '0';
  do {
    const page = await p.r1.workers.orphans(p.name, cursor, 20);
    for (const { id } of page.orphans) seen.add(id);
    cursor = page.cursor;
    pages++;
  } while (cursor !== '0');
  expect([seen.size, pages > 2]).toEqual([200, true]);
});

test('a home is forgotten when it is dead, not when it beats again', async () => {
  const p = await fixture.pool();
  await p.r1.workers.beat(p.name, [], false);
  await p.r2.workers.beat(p.name, [], false);
  await p.at(5_999);
  expect(await p.r1.workers.forgetHomes(p.name, ['r1', 'r2', 'r9'])).toBe(0);
  await p.r1.workers.beat(p.name, [], false);
  await p.at(6_000);
  const { value, diff } = await p.during(() => p.r1.workers.forgetHomes(p.name, ['r1', 'r2', 'r9']));
  expect([value, diff]).toEqual([1, { 'homes.r2': '- t+0' }]);
  expect(await p.raw.zrange(keys.homes(p.name), '0', '-1')).toEqual(['r1']);
});

test('a worker of which nothing was heard for a minute has nobody who looks after it, though its home lives', async () => {
  const p = await fixture.pool();
  await p.worker('w1', {}, p.r2);
  await p.pass(0, 60_000);
  expect((await p.r1.workers.orphans(p.name, '0', 100)).orphans).toEqual([]);
  await p.pass(60_001, 60_001);
  expect((await p.r1.workers.orphans(p.name, '0', 100)).orphans.map(({ id, home }) => `${id} ${home}`)).toEqual(['w1 r2']);
  expect(await p.workerState()).toBe('suspect');
});
