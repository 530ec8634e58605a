import { EventEmitter } from 'node:events';
import { Metadata } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { systemClock } from '../../../src/domain/clock.js';
import { MusterError } from '../../../src/domain/errors.js';
import type { LinkEvents } from '../../../src/domain/link.js';
import { type AttachServiceOptions, createAttach } from '../../../src/grpc/attach-service.js';
import { FairShare } from '../../../src/grpc/fair-share.js';
import { AttachRequest, WorkerInfo } from '../../../src/grpc/generated/muster/v1/worker.js';
import { Pacer } from '../../../src/grpc/pacer.js';
import { until } from '../../helpers/until.js';

/** A stream of a worker that has attached, and what its replica told Redis; the first `failing` times Redis does not answer. */
async function attached(failing: number) {
  const told: string[] = [];
  const closed: { reason: string; reset: boolean }[] = [];
  let left = failing;
  const say = async (what: string) => {
    if (left-- > 0) throw new MusterError('unavailable', 'REDIS_UNKNOWN', 'Redis did not answer');
    told.push(what);
  };
  const manager = {
    replica: 'r1',
    attachWorker: async (info: { pool: string; id: string; boot: string }, _held: unknown, open: (ref: object, abandon: never[]) => unknown) =>
      open({ pool: info.pool, id: info.id, boot: info.boot, link: '1' }, []),
    resize: (_ref: unknown, slots: number) => say(`resize ${slots}`),
    leave: () => say('leave'),
  };
  const events: LinkEvents = {
    delivered: () => undefined,
    heard: () => undefined,
    closed: (_link, reason, reset) => void closed.push({ reason, reset }),
  };
  const unread: Buffer[] = [];
  const call = Object.assign(new EventEmitter(), {
    ...{ metadata: new Metadata(), cancelled: false, write: () => true, end: () => undefined, getPeer: () => '127.0.0.1:1' },
    read: () => unread.shift() ?? null,
  });
  const options = {
    ...{ manager, events, leaseMs: 1, beatMs: 1, maxFrameBytes: 1, onError: () => undefined, onUnknownFrame: () => undefined },
    limits: { maxSlots: 10, legacyPool: 'default', maxResultBytes: 1 },
    ...{ clock: systemClock, heartbeatMs: 3_000, pacer: new Pacer(new FairShare({ clock: systemClock })) },
    link: { clock: systemClock, maxUnsettled: 1, settleMs: 1, onGuess: () => undefined },
  };
  createAttach(options as unknown as AttachServiceOptions)(call as never);
  const frame = ($case: string, value: unknown) => {
    unread.push(Buffer.from(AttachRequest.encode(AttachRequest.fromPartial({ frame: { $case, value } as AttachRequest['frame'] })).finish()));
    call.emit('readable');
  };
  frame('hello', { worker: WorkerInfo.fromPartial({ id: 'w', pool: 'p', slots: 1, boot: 'b' }), held: [], capabilities: [], paused: false });
  await new Promise((resolve) => setImmediate(resolve));
  return { call, frame, told, closed };
}

test('what a worker says once is said to Redis until it is done: a resize, and the latest alone; a goodbye', async () => {
  const { frame, told } = await attached(3);
  frame('resize', { slots: 3 });
  frame('resize', { slots: 5 });
  frame('goodbye', { drainTimeout: undefined });
  await until(() => told.length === 2, { what: 'both to be told' });
  expect(told.sort()).toEqual(['leave', 'resize 5']);
});

test.each([true, false])('a stream that its host reset is told apart from one that the worker ended (reset: %s)', async (reset) => {
  const { call, closed } = await attached(0);
  call.emit('end');
  if (reset) {
    call.cancelled = true;
    call.emit('cancelled');
  }
  await until(() => closed.length === 1);
  expect(closed).toEqual([{ reason: reset ? 'broken off' : 'ended by the worker', reset }]);
});
