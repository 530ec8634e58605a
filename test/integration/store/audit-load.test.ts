import { randomInt } from 'node:crypto';
import { expect, test } from 'vitest';
import { systemClock } from '../../../src/domain/clock.js';
import { Inspection } from '../../../src/store/inspection.js';
import { keys } from '../../../src/store/keys.js';
import type { Store } from '../../../src/store/store.js';
import { failure, LIMITS, StoreFixture, success, type TestPool } from '../../helpers/store-fixture.js';

/** Lists are long here soon, so that the search through them is under load too. */
const limits = { EXACT_LIST: 16 };
const fixture = new StoreFixture({ testClock: false, limits });
const CALLS = 3_000;
const WORKERS = 12;

interface Chance {
  below(n: number): number;
}

/** As the property tests do: what happens is told by the seed, when it happens is not. */
function chance(seed: number): Chance {
  let state = seed;
  return {
    below: (n) => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((state / 2 ** 32) * n);
    },
  };
}

/** One caller that does what replicas do, in no order, until told to stop. */
async function hammer(p: TestPool, store: Store, { below }: Chance, going: () => boolean, called: () => void): Promise<void> {
  let calls = 0;
  const id = () => `w${1 + below(WORKERS)}`;
  const ref = async (worker: string) => {
    const [boot, link] = await p.raw.hmget(keys.worker(p.name, worker), 'boot', 'link');
    return { pool: p.name, id: worker, boot: boot ?? '', link: link ?? '' };
  };
  const held = async () => {
    const worker = await ref(id());
    const leases = Object.entries(await p.raw.hgetall(keys.held(p.name, worker.id)));
    return leases.map(([jobId, fence]) => ({ ...worker, worker: worker.id, jobId, fence: fence.replace('!', '') }));
  };
  const acts: (() => Promise<unknown>)[] = [
    () =>
      p.submit(
        Array.from({ length: 1 + below(30) }, (_, i) => job(`${store.home}-${calls}-${i}`)),
        { by: store, max: 500 },
      ),
    async () =>
      store.jobs.finish(
        p.name,
        (await held()).map((lease) => p.result(lease, below(4) ? success() : failure())),
        below(2) === 0,
      ),
    async () =>
      store.jobs.finish(
        p.name,
        (await held()).map((lease) => p.result(lease)),
        true,
      ),
    async () =>
      store.jobs.release(
        p.name,
        (await held()).slice(0, 1).map((lease) => ({ ...lease, blocked: below(3) === 0, reason: 'test' })),
      ),
    async () => store.jobs.cancel(p.name, (await p.raw.lrange(keys.waiting(p.name, below(4)), 0, 40)).slice(below(40))),
    async () =>
      store.jobs.cancel(
        p.name,
        (await held()).map(({ jobId }) => jobId),
      ),
    async () =>
      store.workers.probed(
        await ref(id()),
        0,
        false,
        (await held()).map(({ jobId, fence }) => ({ what: 'idle', jobId, fence })),
      ),
    async () => store.workers.resize(await ref(id()), 1 + below(4)),
    async () => store.workers.adopt(await ref(id())),
    async () => store.workers.suspect(await ref(id()), 1, 'test'),
    async () => store.workers.register(p.info(id(), { slots: 1 + below(3), boot: `b${below(1_000)}` }), true),
    async () => store.workers.register(p.info(id(), { slots: 1 + below(3), boot: `b${below(1_000)}` }), true),
    () => store.workers.drain(p.name, id(), below(2) === 0),
    () => store.workers.bury({ pool: p.name, id: id(), boot: '', link: '' }, 0, 'test'),
    () => store.workers.deregister(p.name, id(), ''),
    () => store.jobs.pause(p.name, below(2) === 0),
    () => store.jobs.purge(p.name, 'buried', 3),
    async () =>
      store.jobs.retry(
        p.name,
        (await p.raw.zrange(keys.buried(p.name), '0', '3')).map((one) => ({ id: one })),
      ),
    () => p.tick({}, store),
    () => store.jobs.match(p.name),
    () => store.workers.beat(p.name, [], false),
  ];
  const job = (name: string) =>
    p.spec(name, { priority: below(4), notBefore: below(5) ? 0 : Date.now() + below(300), totalTimeoutMs: below(3) ? 0 : 200, retentionMs: 500 });
  while (going()) {
    await acts[below(acts.length)]?.();
    calls++;
    called();
  }
}

test('nothing is found in a pool that is at work, whatever is done to it', { timeout: 60_000 }, async () => {
  const seed = randomInt(2 ** 31);
  console.log(`seed ${seed}`);
  const p = await fixture.pool();
  const inspection = new Inspection({
    ...{ url: fixture.redis.url, timeoutMs: 5_000, limits: { ...LIMITS, ...limits }, clock: systemClock, onError: () => undefined },
    lookAgainMs: 50,
  });
  await inspection.start(AbortSignal.timeout(10_000));
  let [going, calls, audits] = [true, 0, 0];
  const callers = [p.r1, p.r2, p.r1, p.r2].map((store, i) =>
    hammer(
      p,
      store,
      chance(seed + i),
      () => going,
      () => calls++,
    ),
  );
  const findings: unknown[] = [];
  try {
    for (; calls < CALLS && findings.length === 0; audits++) findings.push(...(await inspection.audit(p.name)));
  } finally {
    going = false;
    await Promise.all(callers);
    inspection.stop();
  }
  expect(findings).toEqual([]);
  console.log(`${audits} audits beside ${calls} calls`);
  const meta = await p.raw.hgetall(keys.meta(p.name));
  expect(audits).toBeGreaterThan(5);
  // It was not refused all that it was asked.
  for (const state of ['succeeded', 'failed', 'cancelled', 'expired', 'retried']) expect(Number(meta[state]), state).toBeGreaterThan(0);
});
