import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ConfigError, readConfig } from '../../../src/config.js';
import { systemClock } from '../../../src/domain/clock.js';
import { type DialKeys, dialKeys } from '../../../src/lifecycle/dial-keys.js';
import { DialSecurity } from '../../../src/links/security.js';
import { createCa } from '../../helpers/certs.js';
import { until } from '../../helpers/until.js';

const folder = mkdtempSync(join(tmpdir(), 'dial-keys-'));
const at = (name: string) => join(folder, name);
afterAll(() => rmSync(folder, { recursive: true }));

beforeAll(async () => {
  const ca = await createCa();
  const [one, two] = await Promise.all([ca.issue(['a']), ca.issue(['b'])]);
  const files = {
    'ca.pem': ca.cert,
    'one.pem': one.cert,
    'one.key': one.key,
    'two.key': two.key,
    'half.pem': ca.cert.slice(0, 100),
    'empty.pem': '',
  };
  for (const [name, text] of Object.entries({ ...files, 'wrong.pem': ca.cert.replace(/[A-Za-z]{20}/, 'x'.repeat(20)) }))
    writeFileSync(at(name), text);
});

function made(settings: Record<string, string>): DialKeys | undefined {
  return dialKeys(readConfig({}, settings), systemClock, () => undefined);
}

test('without DIAL_CA there is nothing to be read', () => {
  expect(made({})).toBeUndefined();
});

test.each([
  [{ DIAL_CERT: 'a', DIAL_KEY: 'b' }, 'MUSTER_DIAL_CERT: needs MUSTER_DIAL_CA'],
  [{ DIAL_CA: 'x', DIAL_CERT: 'a' }, 'MUSTER_DIAL_KEY: set it too'],
  [{ DIAL_CA: 'x', DIAL_KEY: 'a' }, 'MUSTER_DIAL_CERT: set it too'],
])('%j misses another setting, which is named', (settings, said) => {
  expect(() => made(settings)).toThrow(ConfigError);
  expect(() => made(settings)).toThrow(said);
});

test.each([
  ['nowhere.pem', 'cannot be read'],
  ['empty.pem', 'DIAL_CA: holds no whole certificate'],
  ['half.pem', 'DIAL_CA: holds no whole certificate'],
  ['wrong.pem', 'DIAL_CA: certificate 1 cannot be read'],
])('a DIAL_CA of %s is an error of the configuration', async (name, said) => {
  const opening = made({ DIAL_CA: at(name) })?.open();
  await expect(opening).rejects.toThrow(ConfigError);
  await expect(opening).rejects.toThrow(said);
});

test("a key that is another certificate's is refused, one that fits is taken; before it was read nobody is dialed", async () => {
  await expect(made({ DIAL_CA: at('ca.pem'), DIAL_CERT: at('one.pem'), DIAL_KEY: at('two.key') })?.open()).rejects.toThrow(
    'DIAL_KEY: does not go with DIAL_CERT',
  );
  const keys = made({ DIAL_CA: at('ca.pem'), DIAL_CERT: at('one.pem'), DIAL_KEY: at('one.key') });
  expect(() => keys?.current()).toThrow('starting');
  await keys?.open();
  expect(keys?.current()).toBe(keys?.current());
  await keys?.stop();
});

test('a certificate that has a role at replicas is refused at the start, and when it is exchanged', async () => {
  const ca = await createCa();
  const [admin, own, plain] = await Promise.all([ca.issue(['muster:admin:ops']), ca.issue(['replica.fleet.example']), ca.issue(['a'])]);
  const [cert, key] = [at('roles.pem'), at('roles.key')];
  const put = (pair: { cert: string; key: string }) => {
    writeFileSync(cert, pair.cert);
    writeFileSync(key, pair.key);
  };
  const settings = { DIAL_CA: at('ca.pem'), DIAL_CERT: cert, DIAL_KEY: key, DIAL_RELOAD_MS: 20 };
  put(admin);
  const opening = dialKeys(readConfig({}, settings), systemClock, () => undefined)?.open();
  await expect(opening).rejects.toThrow(ConfigError);
  await expect(opening).rejects.toThrow(/DIAL_CERT: its name URI:muster:admin:ops has the role admin by MUSTER_TLS_ROLES/);
  put(own);
  const roles = { ...settings, TLS_ROLES: ['client=DNS:*.fleet.example'] };
  await expect(dialKeys(readConfig({}, roles), systemClock, () => undefined)?.open()).rejects.toThrow(/has the role client/);

  put(plain);
  const errors: string[] = [];
  const keys = dialKeys(readConfig({}, settings), systemClock, (error) => void errors.push(String(error)));
  await keys?.open();
  const before = keys?.current();
  put(admin);
  await until(() => errors.some((error) => error.includes('has the role admin')));
  expect(keys?.current()).toBe(before);
  await keys?.stop();
});

test('the certificate that dialed workers are shown is told of with its expiry, at the start and when it was exchanged', async () => {
  const ca = await createCa();
  const soon = await ca.issue(['a'], { days: 3 });
  const later = await ca.issue(['a'], { days: 90 });
  const [cert, key] = [at('rotated.pem'), at('rotated.key')];
  writeFileSync(cert, `${later.cert}\n${soon.cert}`);
  writeFileSync(key, later.key);
  const told: [string, number][] = [];
  const config = readConfig({}, { DIAL_CA: at('ca.pem'), DIAL_CERT: cert, DIAL_KEY: key, DIAL_RELOAD_MS: 20 });
  const keys = dialKeys(config, systemClock, () => undefined, { certificate: (use, expiresAt) => void told.push([use, expiresAt]) });
  await keys?.open();
  const expiresAt = (pem: string) => Date.parse(new X509Certificate(pem).validTo);
  // The first to expire of all in the file.
  expect(told).toEqual([['dial', expiresAt(soon.cert)]]);
  writeFileSync(cert, later.cert);
  await until(() => told.length > 1);
  expect(told[1]).toEqual(['dial', expiresAt(later.cert)]);
  await keys?.stop();
});

const worker = (ip: string, id = 'w', port = 6000) => ({ ref: { pool: 'p', id, boot: 'b', link: '1' }, address: { ip, port } });

test('who is dialed by TLS: all but DIAL_PLAINTEXT; with INSECURE, only where there is a DIAL_CA', () => {
  const contexts = { current: () => expect.unreachable() };
  const plaintext = ['10.0.0.0/8:6000-6100', 'fd00::/8'];
  for (const insecure of [true, false]) {
    const security = new DialSecurity({ insecure, plaintext, contexts });
    expect(security.of(worker('192.0.2.1'))).toBeDefined();
    expect(security.of(worker('10.1.2.3', 'w', 6101))).toBeDefined();
    for (const ip of ['10.1.2.3', '::ffff:10.1.2.3', 'fd12::1']) expect(security.of(worker(ip))).toBeUndefined();
  }
  expect(new DialSecurity({ insecure: true, plaintext: [], contexts: undefined }).of(worker('192.0.2.1'))).toBeUndefined();
  const without = new DialSecurity({ insecure: false, plaintext, contexts: undefined });
  expect(without.of(worker('10.1.2.3'))).toBeUndefined();
  expect(() => without.of(worker('192.0.2.1'))).toThrow(/192\.0\.2\.1:6000 is dialed by TLS.*set DIAL_CA.*DIAL_PLAINTEXT/);
  expect(() => new DialSecurity({ insecure: false, plaintext: ['10.0.0.0/40'], contexts })).toThrow(
    'DIAL_PLAINTEXT: "10.0.0.0/40" has a prefix over 32',
  );
});

test('the server name is the id where it can be one, and never an IP', () => {
  const security = new DialSecurity({ insecure: false, plaintext: [], contexts: { current: () => expect.unreachable() } });
  const named = (id: string) => security.of(worker('192.0.2.1', id))?.serverName;
  for (const id of ['w', 'gpu-7', 'gpu-7.eu.example', 'W1']) expect(named(id)).toBe(id);
  for (const id of ['a_b', 'a:b', '10.0.0.7', 'a.', 'a..b', 'a-', 'x'.repeat(64)]) expect(named(id)).toBe('muster-worker');
});
