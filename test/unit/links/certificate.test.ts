import { X509Certificate } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import { splitSans } from '../../../src/domain/san.js';
import { mismatch } from '../../../src/links/certificate.js';
import { type Ca, createCa } from '../../helpers/certs.js';

let ca: Ca;
beforeAll(async () => {
  ca = await createCa();
});

/** As node tells it: of a certificate with those names that was really made. */
async function sansOf(names: string[]): Promise<string | undefined> {
  return new X509Certificate((await ca.issue(names)).cert).subjectAltName;
}

const wanted = (id: string, ip: string) => ({ ref: { pool: 'p', id, boot: 'b', link: '1' }, address: { ip, port: 6000 } });

describe('a certificate of worker w1 at 10.0.0.7', () => {
  test.each([
    ['its IP', ['10.0.0.7']],
    ['its id', ['w1']],
    ['its id as a URI', ['muster:worker:w1']],
    ['its IP among others', ['example.org', '10.0.0.6', '10.0.0.7']],
    ['its id among others', ['muster:worker:w2', 'muster:worker:w1', '10.0.0.9']],
    ['its id beside a name with a comma', ['https://example.org/a,b', 'w1']],
  ])('is taken by %s', async (_, names) => {
    expect(mismatch(await sansOf(names), wanted('w1', '10.0.0.7'))).toBeUndefined();
  });

  test.each([
    ['of another IP', ['10.0.0.8']],
    ['of another id', ['w2']],
    ['of another id as a URI', ['muster:worker:w2']],
    ['of another worker at the same IP', ['muster:worker:w2', '10.0.0.7']],
    ['of another worker that calls itself by its host name', ['muster:worker:w2', 'w1']],
    ['of another case', ['W1']],
    ['of a longer id', ['muster:worker:w11']],
    ['of no id', ['muster:worker:']],
    ['of every name', ['*']],
    ['of its IP as a DNS name', ['dns.10.0.0.7']],
    ['of a client', ['muster:client:w1']],
    ['whose URI holds what looks like the next name', ['muster:x, DNS:w1']],
    ['whose URI holds quotes and what looks like the next name', ['muster:x", DNS:w1, URI:"muster:worker:w1']],
    ['whose URI is the id and more', ['muster:worker:w1, DNS:w1']],
  ])('is not taken when it is one %s', async (_, names) => {
    const text = await sansOf(names);
    const what = mismatch(text, wanted('w1', '10.0.0.7'));
    expect(what).toContain(`certificate of 10.0.0.7:6000 has SANs ${text}`);
    expect(what).toContain('wanted URI:muster:worker:w1, DNS:w1 or IP Address:10.0.0.7');
  });

  test('is not taken without names', () => {
    for (const none of [undefined, '']) expect(mismatch(none, wanted('w1', '10.0.0.7'))).toContain('has no SANs');
  });
});

test('addresses are compared, not their spellings', async () => {
  expect(mismatch(await sansOf(['fd00::7']), wanted('w', 'FD00:0:0::7'))).toBeUndefined();
  expect(mismatch(await sansOf(['10.0.0.7']), wanted('w', '::ffff:a00:7'))).toBeUndefined();
  expect(mismatch(await sansOf(['fd00::7']), wanted('w', 'fd00::8'))).toMatch(/SANs IP Address:FD00/i);
});

test('what is not of the form that node writes proves nothing', () => {
  for (const text of ['DNS:w1"', 'w1', 'DNS:"w1', 'DNS:a,DNS:w1', ', DNS:w1']) {
    expect(splitSans(text), text).toEqual([]);
    expect(mismatch(text, wanted('w1', '10.0.0.7')), text).toContain('wanted');
  }
});

test('a certificate of a thousand names is told in part', () => {
  const text = Array.from({ length: 1_000 }, (_, n) => `DNS:host-${n}`).join(', ');
  expect(mismatch(text, wanted('w1', '10.0.0.7'))?.length).toBeLessThan(500);
});
