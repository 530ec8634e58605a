import { describe, expect, it } from 'vitest';
import { MusterError } from '../../../src/domain/errors.js';
import type { WorkerRecord, WorkerState } from '../../../src/domain/worker.js';
import {
  checkHeld,
  fromWorkerRecord,
  legacyWorkerInfo,
  toProtoContract,
  toProtoWorkerState,
  toWorkerInfo,
  toWorkerState,
} from '../../../src/grpc/convert-worker.js';
import { WorkerState as ProtoWorkerState, Worker } from '../../../src/grpc/generated/muster/v1/admin.js';
import { Contract } from '../../../src/grpc/generated/muster/v1/common.js';
import { WorkerInfo } from '../../../src/grpc/generated/muster/v1/worker.js';

const limits = { maxSlots: 256, legacyPool: 'old-fleet' };
const PEER = '192.0.2.9';
type Part = Partial<WorkerInfo>;

/** Through the wire, so that what is checked is what a worker can send. */
function convert(part: Part, peer = PEER) {
  const info: WorkerInfo = { ...WorkerInfo.fromPartial({}), id: 'w-1', ip: '10.0.0.7', port: 6000, ...part };
  return toWorkerInfo(WorkerInfo.decode(WorkerInfo.encode(info).finish()), limits, peer);
}

function refusal(run: () => unknown): MusterError {
  try {
    run();
  } catch (thrown) {
    if (thrown instanceof MusterError) return thrown;
    throw thrown;
  }
  throw new Error('it was taken');
}

describe('toWorkerInfo', () => {
  it('fills in the defaults', () => {
    expect(convert({})).toEqual({
      pool: 'default',
      id: 'w-1',
      address: { ip: '10.0.0.7', port: 6000 },
      contract: 'RUNNER',
      region: '',
      slots: 1,
      labels: {},
      kinds: [],
      version: '',
      boot: '10.0.0.7:6000',
      bootDerived: true,
    });
  });

  it('keeps what is given', () => {
    const given = { pool: 'p', region: 'eu', slots: 256, labels: { zone: 'a/1' }, kinds: ['build', 'scan/v2'], version: '1.2.3', boot: '[::1]:6000' };
    expect(convert({ ...given, contract: Contract.CONTRACT_METHOD })).toMatchObject({ ...given, contract: 'METHOD', bootDerived: false });
  });

  it('takes the address that the call came from when none is given', () => {
    expect(convert({ ip: '' }).address).toEqual({ ip: PEER, port: 6000 });
    expect(refusal(() => convert({ ip: '' }, '')).field).toBe('ip');
  });

  it('spells an IPv6 address in one way', () => {
    const { address, boot } = convert({ ip: '2001:DB8:0:0::0001' });
    expect(address.ip).toBe('2001:db8::1');
    expect(boot).toBe('[2001:db8::1]:6000');
  });

  it('puts a LEGACY worker into the legacy pool, with one slot and no kinds', () => {
    const legacy = convert({ contract: Contract.CONTRACT_LEGACY, slots: 9999, kinds: ['not a kind'] });
    expect(legacy).toMatchObject({ contract: 'LEGACY', pool: 'old-fleet', slots: 1, kinds: [] });
    expect(convert({ contract: Contract.CONTRACT_LEGACY, pool: 'other' }).pool).toBe('other');
  });

  const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, '']));
  const bad: [string, Part][] = [
    ['id', { id: '' }],
    ['id', { id: 'a b' }],
    ['pool', { pool: 'P' }],
    ['ip', { ip: 'worker-1.local' }],
    ['ip', { ip: '010.0.0.1' }],
    ['ip', { ip: 'fe80::1%eth0' }],
    ['ip', { ip: '10.0.0.7:6000' }],
    ['port', { port: 0 }],
    ['port', { port: -1 }],
    ['port', { port: 65_536 }],
    ['region', { region: 'r'.repeat(64) }],
    ['region', { region: 'a\u001b[31m' }],
    ['slots', { slots: 257 }],
    ['labels', { labels: many(33) }],
    ['labels["k"]', { labels: { k: 'ü'.repeat(129) } }],
    ['labels[""]', { labels: { '': 'x' } }],
    [`labels["${'k'.repeat(63)}"]`, { labels: { ['k'.repeat(64)]: '' } }],
    ['kinds', { kinds: Array.from({ length: 65 }, (_, i) => `k${i}`) }],
    ['kinds[1]', { kinds: ['ok', ''] }],
    ['version', { version: 'v'.repeat(64) }],
    ['boot', { boot: 'b'.repeat(64) }],
    ['boot', { boot: 'a b' }],
    ['contract', { contract: 7 as Contract }],
    ['contract', { contract: -1 as Contract }],
  ];
  it.each(bad)('refuses a bad %s, naming it (%#)', (field, part) => {
    expect(refusal(() => convert(part))).toMatchObject({ code: 'invalid_argument', field });
  });

  it('takes everything at its bound', () => {
    const labels = { ...many(31), ['k'.repeat(63)]: 'v'.repeat(256) };
    const kinds = Array.from({ length: 64 }, (_, i) => `k${i}`);
    const text = 'x'.repeat(63);
    expect(convert({ labels, kinds, port: 65_535, region: text, version: text, boot: text })).toMatchObject({ labels, kinds, boot: text });
  });

  it('sends an ATTACHED worker to Attach', () => {
    const error = refusal(() => convert({ contract: Contract.CONTRACT_ATTACHED }));
    expect(error).toMatchObject({ code: 'failed_precondition', field: 'contract' });
    expect(error.message).toContain('open WorkerService.Attach; Register is for dialed workers');
  });
});

describe('legacyWorkerInfo', () => {
  it('makes the same of the four fields that there are', () => {
    expect(legacyWorkerInfo({ id: 'w', ip: '10.0.0.7', port: 6000, region: 'eu' }, 'default')).toEqual({
      pool: 'default',
      id: 'w',
      address: { ip: '10.0.0.7', port: 6000 },
      contract: 'LEGACY',
      region: 'eu',
      slots: 1,
      labels: {},
      kinds: [],
      version: '',
      boot: '10.0.0.7:6000',
      bootDerived: true,
    });
  });

  it('refuses by field', () => {
    expect(refusal(() => legacyWorkerInfo({ id: 'w', ip: '', port: 6000, region: '' }, 'default')).field).toBe('ip');
    expect(refusal(() => legacyWorkerInfo({ id: '', ip: '10.0.0.7', port: 6000, region: '' }, 'default')).field).toBe('id');
    expect(refusal(() => legacyWorkerInfo({ id: 'w', ip: '10.0.0.7', port: 0, region: '' }, 'default')).field).toBe('port');
    expect(legacyWorkerInfo({ id: 'w', ip: '', port: 1, region: '' }, 'default', PEER).address.ip).toBe(PEER);
  });
});

describe('fromWorkerRecord', () => {
  it('gives a worker that survives the wire, fences and link epoch to the last digit', () => {
    const record: WorkerRecord = {
      pool: 'p',
      id: 'w',
      boot: 'b',
      link: '9007199254740993',
      address: '[2001:db8::1]:6000',
      contract: 'ATTACHED',
      region: 'eu',
      slots: 4,
      state: 'suspect',
      home: 'replica-1',
      seenAt: 1_800_000_000_123,
      registeredAt: 0,
      owner: '',
      misses: 2,
      blocked: true,
      drained: true,
      version: '1',
      reason: 'missed',
      labels: { a: 'b' },
      kinds: ['k'],
      held: [{ jobId: 'j', fence: '1800000000123456789', quarantined: true }],
    };
    expect(Worker.decode(Worker.encode(fromWorkerRecord(record)).finish())).toEqual({
      pool: 'p',
      id: 'w',
      boot: 'b',
      linkEpoch: '9007199254740993',
      address: '[2001:db8::1]:6000',
      contract: Contract.CONTRACT_ATTACHED,
      region: 'eu',
      slots: 4,
      state: ProtoWorkerState.WORKER_STATE_SUSPECT,
      home: 'replica-1',
      lastSeenTime: new Date(1_800_000_000_123),
      registerTime: undefined,
      misses: 2,
      blocked: true,
      version: '1',
      reason: 'missed',
      labels: { a: 'b' },
      kinds: ['k'],
      held: [{ jobId: 'j', fence: '1800000000123456789', quarantined: true }],
    });
  });
});

describe('enums of workers', () => {
  const states: WorkerState[] = ['free', 'busy', 'draining', 'suspect', 'dead'];
  it('states go both ways', () => {
    expect(states.map(toProtoWorkerState)).toEqual([1, 2, 3, 4, 5]);
    expect(states.map((state) => toWorkerState(toProtoWorkerState(state)))).toEqual(states);
    expect(toWorkerState(ProtoWorkerState.WORKER_STATE_UNSPECIFIED)).toBeUndefined();
    expect(refusal(() => toWorkerState(6 as ProtoWorkerState)).message).toBe('state: 6 is no WorkerState known here');
  });
  it('contracts go out by number', () => {
    expect((['LEGACY', 'RUNNER', 'METHOD', 'ATTACHED'] as const).map(toProtoContract)).toEqual([1, 2, 3, 4]);
  });
});

it('what a worker holds: progress that is too long, and names that no job has, are left out; more than 4,096 leases are refused', () => {
  const held = (jobId: string, bytes: number) => ({ jobId, fence: '1', done: false, progress: Buffer.alloc(bytes) });
  expect(checkHeld([held('a', 4_097), held('no name!', 0), held('b', 4_096)], 'held')).toEqual([held('a', 0), held('b', 4_096)]);
  expect(refusal(() => checkHeld(new Array(4_097).fill(held('a', 0)), 'beat.held')).field).toBe('beat.held');
});
