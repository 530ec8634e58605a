import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { readConfig } from '../../../src/config.js';
import { armFailpoint, disarmFailpoint, FAILPOINTS, failpoint, parseFailpoint } from '../../../src/domain/failpoints.js';
import { ROOT } from '../../helpers/source.js';

afterEach(disarmFailpoint);

test.each([
  ['finish-reply:exit', { name: 'finish-reply', action: 'exit', ms: 0, nth: 1 }],
  ['finish-reply:stop:7', { name: 'finish-reply', action: 'stop', ms: 0, nth: 7 }],
  ['tick-page:delay:250', { name: 'tick-page', action: 'delay', ms: 250, nth: 1 }],
  ['tick-page:delay:600000:1000000', { name: 'tick-page', action: 'delay', ms: 600_000, nth: 1_000_000 }],
])('%s is read', (text, plan) => {
  expect(parseFailpoint(text)).toEqual(plan);
});

test.each([
  ['', /no failpoint ""; there are submit-reply, /],
  ['toString:exit', /no failpoint "toString"/],
  ['finish-reply', /"" is no action: exit, stop or delay/],
  ['finish-reply:explode', /"explode" is no action/],
  ['finish-reply:exit:0', /nth "0" is not a whole number from 1 to 1000000/],
  ['finish-reply:exit:1.5', /nth "1.5"/],
  ['finish-reply:exit:1:2', /too many parts/],
  ['finish-reply:delay', /a delay needs its ms/],
  ['finish-reply:delay:', /ms ""/],
  ['finish-reply:delay:600001', /ms "600001" is not a whole number from 1 to 600000/],
  ['finish-reply:delay:5:1000001', /nth "1000001"/],
  ['finish-reply:delay:5:1:1', /too many parts/],
])('%s is refused, and the message says why', (text, message) => {
  expect(() => parseFailpoint(text)).toThrow(message);
});

test('the configuration takes one with INSECURE only, and says what is wrong with it under its name', () => {
  const plan = 'finish-reply:exit';
  expect(() => readConfig({ MUSTER_FAILPOINT: plan })).toThrow('MUSTER_FAILPOINT is for tests: it needs MUSTER_INSECURE=true');
  expect(readConfig({ MUSTER_FAILPOINT: plan, MUSTER_INSECURE: 'true' }).FAILPOINT).toBe(plan);
  expect(() => readConfig({ MUSTER_FAILPOINT: 'finish:exit', MUSTER_INSECURE: 'true' })).toThrow('MUSTER_FAILPOINT: no failpoint "finish"');
});

test('unless it is armed a place does nothing; armed it acts at that passing of that place, once', () => {
  let acted = 0;
  failpoint('finish-reply');
  armFailpoint(parseFailpoint('finish-reply:exit:2'), () => void acted++);
  failpoint('submit-reply');
  failpoint('finish-reply');
  expect(acted).toBe(0);
  failpoint('finish-reply');
  expect(acted).toBe(1);
  failpoint('finish-reply');
  expect(acted).toBe(1);
});

test('every failpoint is passed in exactly one place, and stands in docs/reliability.md', () => {
  const sources = readdirSync(new URL('src', ROOT), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => readFileSync(`${entry.parentPath}/${entry.name}`, 'utf8'));
  const passed = sources.flatMap((text) => [...text.matchAll(/failpoint\('([a-z-]+)'\)/g)].map(([, name]) => name)).sort();
  expect(passed).toEqual(Object.keys(FAILPOINTS).sort());
  expect(passed.length).toBeGreaterThanOrEqual(16);
  const page = readFileSync(new URL('docs/reliability.md', ROOT), 'utf8');
  for (const [name, proves] of Object.entries(FAILPOINTS)) expect(page).toContain(`| \`${name}\` | ${proves} |`);
});
