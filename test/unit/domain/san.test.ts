import { describe, expect, test } from 'vitest';
import { identityOfSans, parseRolePattern, splitSans } from '../../../src/domain/san.js';

describe('patterns', () => {
  test.each<[pattern: string, fits: string[], not: string[]]>([
    [
      'worker=DNS:*.workers.example',
      ['DNS:a.workers.example', 'DNS:A.Workers.EXAMPLE', 'DNS:a-1.workers.example'],
      [
        'DNS:workers.example',
        'DNS:.workers.example',
        'DNS:a.b.workers.example',
        'DNS:a.workersXexample',
        'DNS:a.workers.example.evil',
        'URI:a.workers.example',
      ],
    ],
    ['worker=DNS:a.*.example', ['DNS:a.b.example'], ['DNS:a.b.c.example', 'DNS:a..example']],
    [
      'admin=URI:spiffe://prod/ns/ops/*',
      ['URI:spiffe://prod/ns/ops/alice', 'URI:spiffe://prod/ns/ops/a.b-c_d'],
      [
        'URI:spiffe://prod/ns/ops/',
        'URI:spiffe://prod/ns/ops/a/b',
        'URI:spiffe://prod/ns/ops/a?b',
        'URI:spiffe://PROD/ns/ops/a',
        'DNS:spiffe://prod/ns/ops/a',
      ],
    ],
    [
      'worker=URI:muster:worker:*',
      ['URI:muster:worker:w1'],
      ['URI:muster:worker:w1:x', 'URI:muster:worker:', 'URI:xmuster:worker:w1', 'URI:muster:worker:w1/x'],
    ],
    ['client=URI:https://a.example/x+y(z)', ['URI:https://a.example/x+y(z)'], ['URI:https://aXexample/x+y(z)', 'URI:https://a.example/xxy(z)']],
  ])('%s', (pattern, fits, not) => {
    const { matches } = parseRolePattern(pattern);
    expect(fits.filter((san) => !matches(san))).toEqual([]);
    expect(not.filter(matches)).toEqual([]);
  });

  test.each([
    ['worker', 'write role=DNS:name or role=URI:uri'],
    ['worker=*.example', 'write role=DNS:name or role=URI:uri'],
    ['worker=IP:10.0.0.1', 'write role=DNS:name or role=URI:uri'],
    ['worker=DNS:', 'write role=DNS:name or role=URI:uri'],
    ['root=DNS:a', 'gives the role root: there are worker, client, admin'],
    ['worker=DNS:w*.example', 'it stands for one whole label'],
    ['worker=URI:muster:w*', 'it stands for one whole segment'],
    ['worker=DNS:**.example', 'it stands for one whole label'],
  ])('%s is refused', (pattern, said) => {
    expect(() => parseRolePattern(pattern)).toThrow(said);
  });
});

describe('the names of a certificate', () => {
  test.each<[string | undefined, string[]]>([
    [undefined, []],
    ['', []],
    ['DNS:a.example', ['DNS:a.example']],
    ['DNS:a.example, URI:muster:worker:w1, IP Address:10.0.0.1', ['DNS:a.example', 'URI:muster:worker:w1', 'IP Address:10.0.0.1']],
    ['URI:"http://a, DNS:admin.example", DNS:b', ['URI:http://a, DNS:admin.example', 'DNS:b']],
    ['DNS:"a\\"b", DNS:c', ['DNS:a"b', 'DNS:c']],
    // What cannot be read to its end is not read at all.
    ['DNS:"a, DNS:admin.example', []],
    ['DNS:a, admin', []],
    ['DNS:a,DNS:admin', []],
  ])('%j', (text, sans) => {
    expect(splitSans(text)).toEqual(sans);
  });
});

describe('whose certificate it is', () => {
  const patterns = ['worker=URI:muster:worker:*', 'admin=DNS:*.ops.example'].map(parseRolePattern);

  test('the first pattern that fits decides', () => {
    expect(identityOfSans(['DNS:a.ops.example', 'URI:muster:worker:w1'], patterns)).toEqual({
      name: 'URI:muster:worker:w1',
      role: 'worker',
      pools: undefined,
    });
    expect(identityOfSans(['DNS:x', 'DNS:a.ops.example'], patterns)).toEqual({ name: 'DNS:a.ops.example', role: 'admin', pools: undefined });
    expect(identityOfSans(['DNS:x'], patterns)).toBeUndefined();
    expect(identityOfSans([], patterns)).toBeUndefined();
    expect(identityOfSans(['URI:muster:worker:w\u0000', 'URI:muster:worker:ü', 'URI:muster:worker:a b'], patterns)).toBeUndefined();
  });

  test('a long name is cut to 64 bytes, and two of them stay two', () => {
    const long = (end: string) => identityOfSans([`URI:muster:worker:${'w'.repeat(200)}${end}`], patterns)?.name ?? '';
    expect(long('a')).toMatch(/^URI:muster:worker:w+~[0-9a-f]{16}$/);
    expect(long('a')).toHaveLength(64);
    expect(long('a')).not.toBe(long('b'));
    const exact = `URI:muster:worker:${'w'.repeat(46)}`;
    expect(identityOfSans([exact], patterns)?.name).toBe(exact);
  });
});
