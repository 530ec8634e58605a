import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { keys } from '../../../src/store/keys.js';
import { StoreFixture } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture();
const COUNT = 10_000;
const PAYLOAD_BYTES = 100;
const IN_FLIGHT = 100;

async function usedMemory(): Promise<number> {
  const info = await fixture.raw.info('memory');
  return Number(info.match(/^used_memory:(\d+)/m)?.[1]);
}

/** Bytes of Redis' memory that each of COUNT runs of `make` left, `IN_FLIGHT` at a time. */
async function bytesEach(make: (i: number) => Promise<unknown>, step = 1): Promise<number> {
  const before = await usedMemory();
  for (let i = 0; i < COUNT; i += IN_FLIGHT * step) {
    const starts = Array.from({ length: IN_FLIGHT }, (_, k) => i + k * step).filter((start) => start < COUNT);
    await Promise.all(starts.map(make));
  }
  return Math.round(((await usedMemory()) - before) / COUNT);
}

function figure(name: string, value: number, note = ''): void {
  process.stdout.write(`FIGURE ${name}=${value}${note}\n`);
}

// Ids and boots of 36 characters, as the SDK makes them: hash 312, roll 145, address about 100, free list 38, events 13, the rest is the
// key table's, which doubles now and then.
test('an idle worker costs at most 700 bytes', async () => {
  const p = await fixture.pool();
  const bytes = await bytesEach((i) => {
    const id = randomUUID();
    return p.worker(id, { boot: randomUUID(), address: { ip: `10.0.${i >> 8}.${i & 255}`, port: 6_000 }, kinds: [] });
  });
  figure('idle-worker-bytes', bytes);
  expect(await p.raw.llen(keys.free(p.name))).toBe(COUNT);
  expect(bytes).toBeLessThanOrEqual(700);
});

test('a waiting job costs at most 550 bytes and its payload', async () => {
  const p = await fixture.pool();
  const step = 25;
  const payload = Buffer.alloc(PAYLOAD_BYTES, 'x');
  const bytes = await bytesEach(() => {
    const specs = Array.from({ length: step }, () => p.spec(randomUUID(), { payload }));
    return p.submit(specs, { max: COUNT });
  }, step);
  figure('waiting-job-bytes', bytes, ` (payload ${PAYLOAD_BYTES})`);
  expect(await p.raw.llen(keys.waiting(p.name, 0))).toBe(COUNT);
  expect(bytes).toBeLessThanOrEqual(550 + PAYLOAD_BYTES);
});
