import { expect, test } from 'vitest';
import { redisUrl, uniquePool } from '../../helpers/redis.js';
import { startReplica } from '../../helpers/replica.js';
import { newClient, startWorker } from './support.js';

const WORKERS = 16;
const RENEWALS = 100;
/** Far above what a job takes, and far below DELIVERY_MS, after which an assignment that went astray is noticed. */
const STALLED_MS = 2_000;

test.each([
  // Asked in time, each renews its stream about once a second: hundreds of assignments meet a stream that is being replaced.
  ['are replaced', { CONNECTION_AGE_MS: 1_000, HOME_BEAT_MS: 100, REATTACH_GRACE_MS: 1_000 }],
  // Asked too late, each loses its connection every two seconds.
  ['break', { CONNECTION_AGE_MS: 1_000 }],
])(
  'streams that %s under load stall no job, run none twice and spend no attempt',
  async (_how, settings) => {
    const { target } = await startReplica(redisUrl, settings);
    const pool = uniquePool();
    const begun: { n: number; attempt: number; of: string }[] = [];
    let attached = 0;
    const start = (id: string) =>
      startWorker({ target, pool, id }, (worker) =>
        worker
          .on('attached', () => {
            attached++;
          })
          .handle('step', (n: number, { attempt, fence }) => {
            begun.push({ n, attempt, of: `${id} fence ${fence} ${Math.round(performance.now())}` });
            return n;
          }),
      );
    await Promise.all(Array.from({ length: WORKERS }, (_, i) => start(`w${i}`)));
    const client = newClient({ target });
    const stalled: string[] = [];
    let given = 0;
    const ask = async () => {
      while (attached < WORKERS + RENEWALS) {
        const n = given++;
        const at = performance.now();
        expect(await client.run<number>('step', n, { pool })).toBe(n);
        const tookMs = Math.round(performance.now() - at);
        if (tookMs > STALLED_MS) stalled.push(`job ${n}: ${tookMs} ms`);
      }
    };
    await Promise.all(Array.from({ length: 2 * WORKERS }, ask));
    expect(stalled).toEqual([]);
    const times = new Map<number, number>();
    for (const { n } of begun) times.set(n, (times.get(n) ?? 0) + 1);
    expect(begun.filter(({ n, attempt }) => attempt > 1 || (times.get(n) ?? 0) > 1)).toEqual([]);
    expect(begun).toHaveLength(given);
    console.log(`FIGURE jobsThroughRenewals=${given}`);
  },
  60_000,
);
