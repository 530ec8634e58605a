import { expect, test } from 'vitest';
import { ReplicaAddresses } from '../../../src/links/replica-addresses.js';

const interfaces = () => ({ lo: [{ address: '127.0.0.1' }], eth0: [{ address: '10.0.0.5' }, { address: 'fe80::1%eth0' }, { address: 'FD00::5' }] });
const at = (ip: string, port = 50_051) => ({ ip, port });

test('a listener on all addresses is known by every interface of the host and every spelling', () => {
  const addresses = new ReplicaAddresses('one', interfaces);
  addresses.listens('0.0.0.0:50051', 50_051);
  for (const ip of ['10.0.0.5', '::ffff:10.0.0.5', 'fd00::5', 'FD00:0:0::0005', '127.0.0.1', '127.8.8.8', '::1', '::ffff:7f00:1']) {
    expect(addresses.has(at(ip)), ip).toBe(true);
    expect(addresses.has(at(ip, 50_052)), ip).toBe(false);
  }
  expect(addresses.has(at('10.0.0.6'))).toBe(false);
  expect(addresses.own().sort()).toEqual(['10.0.0.5:50051', '[fd00::5]:50051', '[fe80::1]:50051', 'one/loopback:50051']);
});

test('a listener on one address is known by that one, with the port that it got', () => {
  const addresses = new ReplicaAddresses('one', interfaces);
  addresses.listens('[::1]:0', 6_000);
  addresses.listens('10.0.0.5:0', 6_001);
  expect(addresses.own()).toEqual(['one/loopback:6000', '10.0.0.5:6001']);
});

test('others are known by what they said last; their loopback is not ours, but on one host', () => {
  const addresses = new ReplicaAddresses('one', interfaces);
  addresses.listens('10.0.0.5:1', 1);
  addresses.learn(['10.0.0.9:7', 'two/loopback:7', 'one/loopback:8']);
  expect([at('10.0.0.9', 7), at('127.0.0.1', 8), at('10.0.0.5', 1)].map((address) => addresses.has(address))).toEqual([true, true, true]);
  expect(addresses.has(at('127.0.0.1', 7))).toBe(false);
  addresses.learn([]);
  expect([at('10.0.0.9', 7), at('10.0.0.5', 1)].map((address) => addresses.has(address))).toEqual([false, true]);
});
