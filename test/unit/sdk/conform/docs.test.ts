import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import * as every from '../../../../src/sdk/conform/checks.js';
import { attachedBasic, attachedFull } from '../../../../src/sdk/conform/checks-attached.js';
import { dialedBasic, dialedFull } from '../../../../src/sdk/conform/checks-dialed.js';

test('docs/workers.md names every check, in the row of its level', () => {
  const rows = readFileSync('docs/workers.md', 'utf8')
    .split('\n')
    .filter((line) => /^\| .* \| (basic|full) \| (both|dialed|attached) \|$/.test(line));
  const rowOf = (name: string) => rows.find((row) => row.includes(name)) ?? '';
  const own = [
    ...[...dialedBasic, ...dialedFull].map(({ name, level }) => ({ name, level, of: 'dialed' })),
    ...[...attachedBasic, ...attachedFull].map(({ name, level }) => ({ name, level, of: 'attached' })),
  ];
  const both = Object.values(every).map(({ name, level }) => ({ name, level, of: 'both' }));
  for (const { name, level, of } of [...both, ...own]) expect(rowOf(name), name).toContain(`| ${level} | ${of} |`);
  const named = rows.flatMap((row) => (row.split('|')[1] ?? '').split('·'));
  expect(named).toHaveLength(both.length + own.length);
});
