import { X509Certificate } from 'node:crypto';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readConfig } from '../../../src/config.js';
import { systemClock } from '../../../src/domain/clock.js';
import { checkSecurity, openSecurity } from '../../../src/lifecycle/security.js';
import { runService } from '../../../src/lifecycle/service.js';
import { WatchedFiles } from '../../../src/lifecycle/watched-files.js';
import { createCa } from '../../helpers/certs.js';
import { until } from '../../helpers/until.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'muster-files-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const path = (name: string) => join(folder, name);
const silent = pino({ level: 'silent' });
const GOOD = `admin ops sha256:${'a'.repeat(64)}\n`;

describe('settings', () => {
  const TLS = { TLS_CERT: '/c', TLS_KEY: '/k' };
  test.each<[what: string, settings: Record<string, unknown>]>([
    ['insecure', { INSECURE: true }],
    ['TLS and tokens', { ...TLS, TOKENS_FILE: '/t' }],
    ['TLS and certificates of clients', { ...TLS, TLS_CLIENT_CA: '/a' }],
    ['all of it', { ...TLS, TLS_CLIENT_CA: '/a', TOKENS_FILE: '/t' }],
    ['tokens behind a proxy', { TOKENS_FILE: '/t', TLS_TERMINATED: true }],
  ])('%s will do', (_what, settings) => {
    checkSecurity(readConfig({}, settings));
  });

  test.each<[what: string, settings: Record<string, unknown>, said: string[]]>([
    ['nothing', {}, ['MUSTER_TLS_CERT', 'MUSTER_TOKENS_FILE', 'MUSTER_TLS_CLIENT_CA', 'MUSTER_INSECURE=true', 'muster token create']],
    ['insecure with tokens', { INSECURE: true, TOKENS_FILE: '/t' }, ['MUSTER_INSECURE', 'MUSTER_TOKENS_FILE']],
    ['insecure with TLS', { INSECURE: true, ...TLS }, ['MUSTER_INSECURE', 'MUSTER_TLS_CERT, MUSTER_TLS_KEY']],
    ['a certificate without a key', { TLS_CERT: '/c', TOKENS_FILE: '/t' }, ['MUSTER_TLS_KEY']],
    ['a key without a certificate', { TLS_KEY: '/k', TOKENS_FILE: '/t', TLS_TERMINATED: true }, ['MUSTER_TLS_CERT']],
    ['TLS that tells nobody apart', TLS, ['MUSTER_TOKENS_FILE', 'MUSTER_TLS_CLIENT_CA']],
    ['tokens in plaintext', { TOKENS_FILE: '/t' }, ['MUSTER_TLS_CERT', 'MUSTER_TLS_TERMINATED=true']],
    [
      'certificates of clients without TLS',
      { TOKENS_FILE: '/t', TLS_TERMINATED: true, TLS_CLIENT_CA: '/a' },
      ['MUSTER_TLS_CLIENT_CA', 'MUSTER_TLS_CERT'],
    ],
    ['a proxy that ends TLS, and TLS', { ...TLS, TOKENS_FILE: '/t', TLS_TERMINATED: true }, ['MUSTER_TLS_TERMINATED']],
  ])('%s is refused, and the message says what to set', (_what, settings, said) => {
    const check = () => checkSecurity(readConfig({}, settings));
    for (const word of said) expect(check).toThrow(expect.objectContaining({ name: 'ConfigError', message: expect.stringContaining(word) }));
  });

  test('a service refuses before it does anything', async () => {
    await expect(runService(readConfig({}))).rejects.toMatchObject({ name: 'ConfigError', message: expect.stringContaining('docs/security.md') });
  });

  test('a role that is none is refused with the setting', () => {
    expect(() => readConfig({ MUSTER_TLS_ROLES: 'worker=DNS:*.a,root=DNS:b' })).toThrow('MUSTER_TLS_ROLES: "root=DNS:b" gives the role root');
  });
});

describe('files at start', () => {
  const opening = (settings: Record<string, unknown>) => openSecurity(readConfig({}, settings), systemClock, silent);

  test('tokens that are missing, empty or wrong are an error with the setting, the file and the line', async () => {
    const settings = { TOKENS_FILE: path('tokens'), TLS_TERMINATED: true };
    await expect(opening(settings)).rejects.toMatchObject({ name: 'ConfigError', message: expect.stringContaining('ENOENT') });
    writeFileSync(path('tokens'), '');
    await expect(opening(settings)).rejects.toThrow(`MUSTER_TOKENS_FILE (${path('tokens')}): there is no token in it`);
    writeFileSync(path('tokens'), `${GOOD}worker\n`);
    await expect(opening(settings)).rejects.toThrow('line 2: ');
    writeFileSync(path('tokens'), '#'.repeat(1_048_577));
    await expect(opening(settings)).rejects.toThrow('more than 1048576');
    await expect(opening({ ...settings, TOKENS_FILE: folder })).rejects.toThrow('cannot be read');
    writeFileSync(path('tokens'), GOOD);
    const security = await opening(settings);
    await security?.stop();
  });

  test('certificates too, and a key that is another certificate’s', async () => {
    const ca = await createCa();
    const [one, two] = [await ca.issue(['a']), await ca.issue(['b'])];
    writeFileSync(path('tokens'), GOOD);
    const settings = { TLS_CERT: path('c'), TLS_KEY: path('k'), TOKENS_FILE: path('tokens') };
    await expect(opening(settings)).rejects.toThrow('MUSTER_TLS_CERT');
    writeFileSync(path('c'), one.cert);
    writeFileSync(path('k'), two.key);
    await expect(opening(settings)).rejects.toThrow('key values mismatch');
    writeFileSync(path('k'), 'no key');
    await expect(opening(settings)).rejects.toThrow('MUSTER_TLS_KEY');
    writeFileSync(path('k'), one.key);
    await (await opening(settings))?.stop();
  });
});

test("the certificate's expiry is told of when it is read, and when it was exchanged; one that cannot be used is not told of", async () => {
  const ca = await createCa();
  const [first, next] = [await ca.issue(['a'], { days: 3 }), await ca.issue(['a'], { days: 90 })];
  writeFileSync(path('c'), first.cert);
  writeFileSync(path('k'), first.key);
  writeFileSync(path('tokens'), GOOD);
  const told: [string, number][] = [];
  const observer = { refused: () => undefined, certificate: (use: string, expiresAt: number) => void told.push([use, expiresAt]) };
  const settings = { TLS_CERT: path('c'), TLS_KEY: path('k'), TOKENS_FILE: path('tokens'), TLS_RELOAD_MS: 20 };
  const security = await openSecurity(readConfig({}, settings), systemClock, silent, observer);
  // For a while it is not that of the key.
  writeFileSync(path('c'), next.cert);
  writeFileSync(path('k'), next.key);
  await until(() => told.length > 1);
  const expiresAt = (pem: string) => Date.parse(new X509Certificate(pem).validTo);
  expect(told).toEqual([first, next].map(({ cert }) => ['server', expiresAt(cert)]));
  await security?.stop();
});

describe('files that are watched', () => {
  function watched(paths: string[]) {
    const changed: string[] = [];
    const failed: string[] = [];
    const files = new WatchedFiles<string>({
      clock: systemClock,
      paths,
      everyMs: 1_000_000,
      parse: (contents) => {
        const text = contents.map(String).join('+');
        if (text.includes('bad')) throw new Error(`bad: ${text}`);
        return text;
      },
      changed: (text) => changed.push(text),
      failed: (error) => failed.push(error.message),
    });
    return { files, changed, failed };
  }

  test('are parsed again when what is in them has changed, and only then', async () => {
    writeFileSync(path('a'), '1');
    writeFileSync(path('b'), 'x');
    const { files, changed, failed } = watched([path('a'), path('b')]);
    expect(await files.read()).toBe('1+x');
    await files.look();
    writeFileSync(path('a'), '1');
    await files.look();
    expect(changed).toEqual([]);
    writeFileSync(path('b'), 'y');
    await files.look();
    await files.look();
    expect([changed, failed]).toEqual([['1+y'], []]);
  });

  test('may be a symbolic link that is exchanged, as Kubernetes does it', async () => {
    mkdirSync(path('v1'));
    mkdirSync(path('v2'));
    writeFileSync(path('v1/a'), 'one');
    writeFileSync(path('v2/a'), 'two');
    symlinkSync('v1', path('data'));
    symlinkSync('data/a', path('a'));
    const { files, changed } = watched([path('a')]);
    expect(await files.read()).toBe('one');
    symlinkSync('v2', path('next'));
    renameSync(path('next'), path('data'));
    await files.look();
    expect(changed).toEqual(['two']);
  });

  test('that cannot be read or used say so once, and are heard again afterwards', async () => {
    writeFileSync(path('a'), 'good');
    const { files, changed, failed } = watched([path('a')]);
    await files.read();
    rmSync(path('a'));
    await files.look();
    await files.look();
    expect(failed).toEqual([`cannot be read: ${path('a')}: ENOENT`]);
    writeFileSync(path('a'), 'bad 1');
    await files.look();
    await files.look();
    expect(failed).toHaveLength(2);
    writeFileSync(path('a'), 'good');
    await files.look();
    expect([changed, failed.length]).toEqual([['good'], 2]);
    writeFileSync(path('a'), 'bad 1');
    await files.look();
    expect(failed).toHaveLength(3);
  });
});
