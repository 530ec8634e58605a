import { describe, expect, test } from 'vitest';
import { ANYBODY, allowPool, type Identity, NOBODY, speakerOf } from '../../../src/domain/identity.js';
import { hashOf, newSecret, parseTokens, tokenLine } from '../../../src/domain/tokens.js';

const A = 'a'.repeat(64);
const B = 'b'.repeat(64);

describe('secrets', () => {
  test('are mst_ and 32 random bytes in base64url, another each time', () => {
    const secrets = Array.from({ length: 100 }, newSecret);
    for (const secret of secrets) expect(secret).toMatch(/^mst_[A-Za-z0-9_-]{43}$/);
    expect(new Set(secrets).size).toBe(100);
  });

  test('are known by SHA-256', () => {
    expect(hashOf('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  });
});

describe('the file', () => {
  test('what tokenLine writes, parseTokens reads', () => {
    const secret = newSecret();
    const line = tokenLine({ name: 'ci', role: 'worker', pools: ['a', 'b'] }, secret);
    expect(line).toBe(`worker ci sha256:${hashOf(secret)} pools=a,b`);
    expect(parseTokens(line).get(hashOf(secret))).toEqual({ name: 'ci', role: 'worker', pools: new Set(['a', 'b']) });
    expect(tokenLine({ name: 'ci', role: 'admin' }, secret)).toBe(`admin ci sha256:${hashOf(secret)}`);
  });

  test('comments, blank lines, spaces and CRLF are no matter', () => {
    const tokens = parseTokens(`# all of them\r\n\r\n  worker\tci  sha256:${A}  pools=a\r\n#admin x\nclient shop sha256:${B}\n`);
    expect([...tokens.values()].map(({ name, role }) => [name, role])).toEqual([
      ['ci', 'worker'],
      ['shop', 'client'],
    ]);
  });

  test('one name may have two secrets, while one is exchanged', () => {
    expect(parseTokens(`worker ci sha256:${A} pools=a,b\nworker ci sha256:${B} pools=b,a`).size).toBe(2);
  });

  test.each([
    ['', 'there is no token in it'],
    ['# nothing', 'there is no token in it'],
    [`root ci sha256:${A}`, 'line 1: the first word must be a role: worker, client, admin'],
    [`\nworker c:i sha256:${A}`, 'line 2: the second word must be a name'],
    [`worker ${'n'.repeat(64)} sha256:${A}`, 'line 1: the second word must be a name'],
    ['worker ci', 'line 1: the third word must be sha256:'],
    [`worker ci sha256:${A.slice(1)}`, 'line 1: the third word must be sha256:'],
    [`worker ci sha256:${A.toUpperCase()}`, 'in lower case'],
    [`worker ci sha1:${A}`, 'line 1: the third word must be sha256:'],
    [`worker ci sha256:${A} pool=a`, 'after the hash there may be pools=a,b and nothing else'],
    [`worker ci sha256:${A} pools=a b`, 'after the hash there may be pools=a,b and nothing else'],
    [`worker ci sha256:${A} pools=`, 'pools= needs names'],
    [`worker ci sha256:${A} pools=a,,b`, 'pools= needs names'],
    [`worker ci sha256:${A} pools=Builds`, 'line 1: pools: a pool is'],
    [`admin ops sha256:${A} pools=a`, 'an admin is one of all pools'],
    [`worker a sha256:${A}\nworker b sha256:${A}`, 'line 2: this hash stands on an earlier line'],
    [`worker a sha256:${A}\nclient a sha256:${B}`, 'line 2: an earlier line gives the same name another role'],
    [`worker a sha256:${A} pools=a\nworker a sha256:${B}`, 'line 2: an earlier line gives the same name another role or other pools'],
  ])('%j is refused', (text, said) => {
    expect(() => parseTokens(text)).toThrow(said);
  });

  test('no message repeats what stands in the place of a hash', () => {
    const secret = newSecret();
    for (const line of [`worker ci ${secret}`, `worker ${secret} ${secret}`, `${secret}`, `worker ci sha256:${A} ${secret}`]) {
      expect(() => parseTokens(line)).toThrow(expect.objectContaining({ message: expect.not.stringContaining(secret.slice(4)) }));
    }
  });
});

describe('who it is', () => {
  const ci: Identity = { name: 'ci', role: 'worker', pools: new Set(['a', 'b']) };

  test('a pool that is none of its own is refused, with the field and those that are', () => {
    expect(allowPool(ci, 'a', 'spec.pool')).toBe('a');
    expect(allowPool(undefined, 'z', 'pool')).toBe('z');
    expect(allowPool({ ...ci, pools: undefined }, 'z', 'pool')).toBe('z');
    expect(() => allowPool(ci, 'z', 'spec.pool')).toThrow(
      expect.objectContaining({
        code: 'permission_denied',
        reason: 'POOL_REFUSED',
        field: 'spec.pool',
        message: 'spec.pool: ci may not use the pool z, only a, b',
      }),
    );
  });

  test('its word counts for its own workers, an admin’s for all', () => {
    expect(speakerOf(ci, true)).toBe('ci');
    expect(speakerOf({ ...ci, role: 'admin' }, true)).toBe(ANYBODY);
    expect(speakerOf(undefined, false)).toBe(ANYBODY);
    expect(speakerOf(undefined, true)).toBe(NOBODY);
  });
});
