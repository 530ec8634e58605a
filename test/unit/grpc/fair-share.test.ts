import { expect, it } from 'vitest';
import { FairShare, type Task } from '../../../src/grpc/fair-share.js';
import { Intake } from '../../../src/grpc/intake.js';

/** A clock that only work moves. */
function setup(limits: ConstructorParameters<typeof FairShare>[0]['limits'] = {}, totalBytes?: number) {
  const time = { now: 0 };
  const share = new FairShare({ clock: { monotonic: () => time.now }, limits, ...(totalBytes === undefined ? {} : { totalBytes }) });
  const done: string[] = [];
  const task = (name: string, pieces: number, ms: number): Task => {
    let left = pieces;
    return {
      step: () => {
        time.now += ms;
        done.push(name);
        return --left > 0;
      },
    };
  };
  return { share, time, done, task };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

it('runs at once while nothing queues, and no longer than a turn of the event loop', async () => {
  const { share, done, task } = setup();
  share.enter('a').ready(task('a', 10, 1));
  expect(done).toHaveLength(4);
  await turn();
  expect(done).toHaveLength(8);
  await turn();
  expect(done).toHaveLength(10);
});

it('callers take turns by the time that they use, whatever one piece costs', async () => {
  const { share, done, task } = setup();
  const hostile = share.enter('hostile');
  for (let i = 0; i < 50; i++) hostile.ready(task('hostile', 100, 1));
  const quick = share.enter('quick');
  for (let i = 0; i < 20; i++) quick.ready(task('quick', 1, 0.05));
  await turn();
  await turn();
  expect(done.filter((name) => name === 'quick')).toHaveLength(20);
  expect(done.filter((name) => name === 'hostile').length).toBeLessThan(15);
});

it('a caller that is full goes on one after another as something ends', () => {
  const { share, done, task } = setup({ calls: 1 });
  const caller = share.enter('a');
  caller.hold('calls', 1);
  expect(caller.hasRoom).toBe(false);
  for (const name of ['x', 'y']) caller.block(() => caller.ready(task(name, 1, 0)));
  caller.release('calls', 1);
  expect(done).toEqual(['x']);
  caller.passOn();
  expect(done).toEqual(['x', 'y']);
});

it('bytes are bounded for each caller and for all, and a caller without any is never shut out', () => {
  const { share } = setup({ bytes: 100 }, 150);
  const [a, b, c] = [share.enter('a'), share.enter('b'), share.enter('c')];
  expect(a.hasRoom).toBe(true);
  share.admit(a, 500);
  expect([a.hasRoom, b.hasRoom]).toEqual([false, true]);
  share.admit(b, 10);
  expect(() => share.admit(b, 10)).toThrow(expect.objectContaining({ code: 'resource_exhausted', reason: 'TOO_MANY_BYTES' }));
  a.release('bytes', 500);
  share.admit(b, 10);
  share.admit(c, 10);
});

it('waits are bounded for each caller', () => {
  const { share } = setup({ waits: 2 });
  const caller = share.enter('shop');
  caller.wait();
  caller.wait();
  expect(() => caller.wait()).toThrow(expect.objectContaining({ code: 'resource_exhausted', reason: 'QUOTA_WAITS' }));
  caller.endWait();
  caller.wait();
});

it('forgets a caller whose last call or stream has ended', () => {
  const { share } = setup();
  const first = share.enter('a');
  expect(share.enter('a')).toBe(first);
  first.leave();
  expect(share.size).toBe(1);
  first.leave();
  expect(share.size).toBe(0);
});

it('a stream is read while it has little in work, and its peer reads', () => {
  const { share } = setup();
  const messages = Array.from({ length: 1_000 }, (_, i) => i);
  let hear = () => {};
  const on = (_: string, listener: () => void) => {
    hear = listener;
  };
  const stream = { read: () => messages.shift() ?? null, on };
  let full = false;
  let taken = 0;
  const intake: Intake<number> = new Intake(stream, share.enter('a'), {
    take: () => {
      taken++;
      intake.hold('items');
    },
    full: () => full,
  });
  hear();
  expect(taken).toBe(256);
  hear();
  expect(taken).toBe(256);
  intake.release('items', 100);
  expect(taken).toBe(356);
  full = true;
  intake.release('items', 256);
  expect(taken).toBe(356);
  full = false;
  intake.wake();
  expect(taken).toBe(612);
  intake.stop();
  expect([share.size, messages.length]).toEqual([0, 388]);
});
