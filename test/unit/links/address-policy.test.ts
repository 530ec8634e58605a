import { describe, expect, it } from 'vitest';
import { MusterError } from '../../../src/domain/errors.js';
import { canonicalIp } from '../../../src/domain/ip.js';
import { DialPolicy } from '../../../src/links/address-policy.js';

/** What the policy says: '' for yes, the field of an invalid argument, or the reason. */
function verdict(policy: DialPolicy, ip: string, peer: string | undefined = ip, port = 6000): string {
  try {
    policy.check({ ip, port }, peer);
    return '';
  } catch (error) {
    if (!(error instanceof MusterError)) throw error;
    return error.field ?? error.reason;
  }
}

function message(policy: DialPolicy, ip: string, peer?: string): string {
  try {
    policy.check({ ip, port: 6000 }, peer);
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}

const strict = new DialPolicy({ insecure: false, allow: [] });
const insecure = new DialPolicy({ insecure: true, allow: [] });
const everything = new DialPolicy({ insecure: false, allow: ['0.0.0.0/0', '::/0'] });
const insecureEverything = new DialPolicy({ insecure: true, allow: ['0.0.0.0/0', '::/0'] });

const NOT_LITERALS = [
  '',
  ' ',
  'localhost',
  'example.org',
  '127.1',
  '127.0.1',
  '2130706433',
  '0x7f000001',
  '0x7f.0.0.1',
  '0177.0.0.1',
  '017700000001',
  '127.0.0.01',
  '10.0.0.1 ',
  ' 10.0.0.1',
  '10.0.0.1\n',
  '10.0.0.256',
  '10.0.0.1.',
  '10.0.0.1/32',
  '10.0.0.1:6000',
  '[::1]',
  'fe80::1%eth0',
  '::1%lo',
  '::ffff:127.0.0.1%1',
  '1:2:3',
  ':::',
  '::ffff:0x7f.0.0.1',
  '\u0661\u0660.0.0.1',
  '\u2460.0.0.1',
  '169.254.169.254@10.0.0.1',
  '10.0.0.1#',
  '10.0.0.1\u0000',
];

const LOOPBACK = [
  '127.0.0.1',
  '127.255.255.254',
  '127.0.0.53',
  '::1',
  '0:0:0:0:0:0:0:1',
  '0000::0001',
  '::ffff:127.0.0.1',
  '::ffff:7f00:1',
  '::FFFF:7F00:0001',
  '0:0:0:0:0:ffff:7f00:1',
  '::ffff:127.8.8.8',
];

const SPECIAL = [
  '0.0.0.0',
  '0.1.2.3',
  '::',
  '0:0:0:0:0:0:0:0',
  '::ffff:0.0.0.0',
  '::ffff:0:0',
  '169.254.169.254',
  '169.254.0.1',
  '::ffff:169.254.169.254',
  '::ffff:a9fe:a9fe',
  'fe80::1',
  'febf::1',
  'fec0::1',
  '224.0.0.1',
  '239.255.255.255',
  'ff02::1',
  'ff0e::1',
  '::ffff:224.0.0.1',
  '255.255.255.255',
  '240.0.0.1',
  '::ffff:ffff:ffff',
  '100.100.100.200',
  '168.63.129.16',
  'fd00:ec2::254',
  '::127.0.0.1',
  '::7f00:1',
  '::10.0.0.1',
  '::2',
  '64:ff9b::7f00:1',
  '64:ff9b::10.0.0.1',
  '64:ff9b:1::7f00:1',
  '::ffff:0:127.0.0.1',
  '2002:7f00:1::',
  '2001::1',
  '2001:0:7f00:1::',
];

const ORDINARY = [
  '10.0.0.1',
  '192.168.1.2',
  '172.16.0.9',
  '8.8.8.8',
  '100.64.0.1',
  'fd00::1',
  '2001:db8::1',
  '2606:4700::1111',
  '::ffff:10.0.0.1',
  '1.0.0.0',
  '223.255.255.255',
  '128.0.0.0',
  '126.255.255.255',
  '169.253.255.255',
  '169.255.0.0',
];

describe('what is an address', () => {
  it.each(NOT_LITERALS)('refuses %j as no IP literal, in every mode', (ip) => {
    for (const policy of [strict, insecure, everything, insecureEverything]) expect(verdict(policy, ip)).toBe('ip');
  });

  it.each([0, -1, 65_536, 1.5, Number.NaN, Number.POSITIVE_INFINITY])('refuses the port %s', (port) => {
    expect(verdict(strict, '10.0.0.1', '10.0.0.1', port)).toBe('port');
    expect(verdict(insecure, '127.0.0.1', '127.0.0.1', port)).toBe('port');
  });

  it.each([1, 65_535])('takes the port %s', (port) => {
    expect(verdict(strict, '10.0.0.1', '10.0.0.1', port)).toBe('');
  });

  it.each([
    ['10.0.0.1', '10.0.0.1'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['::ffff:a00:1', '10.0.0.1'],
    ['0:0:0:0:0:FFFF:0a00:0001', '10.0.0.1'],
    ['FD00::00AB', 'fd00::ab'],
    ['::', '::'],
    ['1::', '1::'],
    ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
    ['64:ff9b::1.2.3.4', '64:ff9b::102:304'],
    ['fe80::1%eth0', undefined],
    ['host', undefined],
  ])('spells %s as %s', (ip, expected) => {
    expect(canonicalIp(ip)).toBe(expected);
  });
});

describe('without DIAL_ALLOW', () => {
  it.each(ORDINARY)('takes %s when the call came from there, and only then', (ip) => {
    expect(verdict(strict, ip)).toBe('');
    expect(verdict(strict, ip, '10.9.9.9')).toBe('ADDRESS_REFUSED');
    expect(verdict(insecure, ip, '10.9.9.9')).toBe('ADDRESS_REFUSED');
  });

  it.each([...LOOPBACK, ...SPECIAL])('refuses %s even from itself', (ip) => {
    expect(verdict(strict, ip)).toBe('ADDRESS_REFUSED');
  });

  it.each(LOOPBACK)('takes loopback %s with INSECURE, from anywhere', (ip) => {
    expect(verdict(insecure, ip, '10.9.9.9')).toBe('');
    expect(verdict(insecure, ip, undefined)).toBe('');
  });

  it.each(SPECIAL)('refuses %s with INSECURE too', (ip) => {
    expect(verdict(insecure, ip)).toBe('ADDRESS_REFUSED');
  });

  it('compares addresses, not spellings', () => {
    expect(verdict(strict, '10.0.0.1', '::ffff:10.0.0.1')).toBe('');
    expect(verdict(strict, '::ffff:a00:1', '10.0.0.1')).toBe('');
    expect(verdict(strict, 'FD00::1', 'fd00:0:0::1')).toBe('');
    expect(verdict(strict, 'fd00::1', 'fd00::1%eth0')).toBe('');
    expect(verdict(strict, 'fd00::1', 'fd00::2')).toBe('ADDRESS_REFUSED');
  });

  it('refuses when the caller is not known, but not when the address is dialed again', () => {
    expect(message(strict, '10.0.0.1')).toMatch(/unknown address/);
    expect(() => strict.recheck({ ip: '10.0.0.1', port: 6000 })).not.toThrow();
    expect(() => strict.recheck({ ip: '127.0.0.1', port: 6000 })).toThrow(/INSECURE/);
    expect(() => strict.recheck({ ip: '169.254.169.254', port: 80 })).toThrow(/link-local/);
  });

  it('names the remedy', () => {
    expect(message(strict, '10.0.0.1', '10.0.0.2')).toMatch(/10\.0\.0\.1:6000.*10\.0\.0\.2.*DIAL_ALLOW.*load balancer/);
    expect(message(strict, '127.0.0.1', '127.0.0.1')).toMatch(/loopback.*INSECURE.*DIAL_ALLOW/);
    expect(message(strict, '169.254.169.254', '169.254.169.254')).toMatch(/link-local.*DIAL_ALLOW/);
    expect(message(strict, '169.254.169.254', '169.254.169.254')).not.toMatch(/INSECURE/);
  });
});

describe('with DIAL_ALLOW', () => {
  it.each([
    ['10.0.0.0/8', '10.255.0.1', 1, ''],
    ['10.0.0.0/8', '11.0.0.1', 1, 'ADDRESS_REFUSED'],
    ['10.0.0.0/8:6000', '10.1.1.1', 6000, ''],
    ['10.0.0.0/8:6000', '10.1.1.1', 6001, 'ADDRESS_REFUSED'],
    ['10.0.0.0/8:6000-6100', '10.1.1.1', 5999, 'ADDRESS_REFUSED'],
    ['10.0.0.0/8:6000-6100', '10.1.1.1', 6000, ''],
    ['10.0.0.0/8:6000-6100', '10.1.1.1', 6100, ''],
    ['10.0.0.0/8:6000-6100', '10.1.1.1', 6101, 'ADDRESS_REFUSED'],
    ['10.1.2.3/8', '10.200.0.1', 1, ''],
    ['10.1.2.3', '10.1.2.3', 1, ''],
    ['10.1.2.3:7', '10.1.2.3', 7, ''],
    ['10.1.2.3:7', '10.1.2.3', 8, 'ADDRESS_REFUSED'],
    ['10.1.2.3', '10.1.2.4', 1, 'ADDRESS_REFUSED'],
    ['10.0.0.0/8', '::ffff:10.0.0.1', 1, ''],
    ['10.0.0.0/8', '::ffff:b00:1', 1, 'ADDRESS_REFUSED'],
    ['fd00::/8', 'fd12::1', 1, ''],
    ['fd00::/8', '2001:db8::1', 1, 'ADDRESS_REFUSED'],
    ['fd00::/8:6000', 'fd12::1', 6001, 'ADDRESS_REFUSED'],
    ['[fd00::]/8:6000', 'fd12::1', 6000, ''],
    ['[fd00::]/8:6000', 'fd12::1', 6001, 'ADDRESS_REFUSED'],
    ['[fd00::1]:6000', 'fd00::1', 6000, ''],
    ['[fd00::1]:6000', 'fd00::1', 6001, 'ADDRESS_REFUSED'],
    ['fd00::1', 'fd00::1', 9, ''],
    ['0.0.0.0/0', 'fd00::1', 1, 'ADDRESS_REFUSED'],
    ['0.0.0.0/0', '8.8.8.8', 1, ''],
  ])('%s asked for %s port %s says %j, whoever calls', (entry, ip, port, expected) => {
    const policy = new DialPolicy({ insecure: false, allow: ['192.0.2.0/24:1', entry] });
    expect(verdict(policy, ip, '203.0.113.1', port)).toBe(expected);
    expect(verdict(policy, ip, undefined, port)).toBe(expected);
  });

  it.each([...LOOPBACK, ...SPECIAL])('does not open %s by the whole internet', (ip) => {
    expect(verdict(everything, ip)).toBe('ADDRESS_REFUSED');
  });

  it.each([
    ['127.0.0.0/8', '127.0.0.1'],
    ['127.0.0.1', '::ffff:7f00:1'],
    ['::1', '::1'],
    ['169.254.7.0/24', '169.254.7.9'],
    ['fe80::/10', 'fe80::5'],
    ['64:ff9b::/96', '64:ff9b::8.8.8.8'],
    ['[fd00:ec2::254]:6000', 'fd00:ec2::254'],
  ])('opens by %s, which names its block or a part of it, %s', (entry, ip) => {
    expect(verdict(new DialPolicy({ insecure: false, allow: [entry] }), ip)).toBe('');
  });

  it('opens a special block only at the ports that are named', () => {
    expect(verdict(new DialPolicy({ insecure: false, allow: ['127.0.0.0/8:6001'] }), '127.0.0.1')).toBe('ADDRESS_REFUSED');
    expect(verdict(new DialPolicy({ insecure: false, allow: ['127.0.0.0/8:6001', '0.0.0.0/0'] }), '127.0.0.1')).toBe('ADDRESS_REFUSED');
  });

  it('keeps the port rule for what INSECURE does not free, and frees loopback all the same', () => {
    const policy = new DialPolicy({ insecure: true, allow: ['10.0.0.0/8:6001'] });
    expect(verdict(policy, '127.0.0.1')).toBe('');
    expect(verdict(policy, '10.0.0.1')).toBe('ADDRESS_REFUSED');
    expect(verdict(policy, '192.168.0.1')).toBe('ADDRESS_REFUSED');
  });

  it.each([
    '10.0.0.0/33',
    '10.0.0/8',
    'fd00::/129',
    '10.0.0.0/',
    '10.0.0.0/8:',
    '10.0.0.0/8:0',
    '10.0.0.0/8:65536',
    '10.0.0.0/8:9-8',
    '10.0.0.0/8:1-',
    '10.0.0.0/-1',
    'workers.example.org',
    '[10.0.0.0/8',
    '',
    '*',
    '::ffff:10.0.0.0/104',
    '[::ffff:10.0.0.1]:6000',
    'fe80::1%eth0',
    '12:34',
    '10.0.0.0/8 ',
    '0x0a.0.0.0/8',
  ])('names the entry %j that cannot be read', (entry) => {
    expect(() => new DialPolicy({ insecure: false, allow: ['10.0.0.0/8', entry] })).toThrow(`DIAL_ALLOW: "${entry}"`);
  });
});
