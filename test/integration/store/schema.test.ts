import { expect, test } from 'vitest';
import { keys } from '../../../src/store/keys.js';
import { SCHEMA } from '../../../src/store/schema.js';
import { StoreFixture } from '../../helpers/store-fixture.js';

const fixture = new StoreFixture();

test('a new Redis is marked with the schema of who comes first', async () => {
  expect(await fixture.raw.get(keys.schema)).toBe(String(SCHEMA));
});

test.each([
  [SCHEMA - 1, SCHEMA],
  [SCHEMA, SCHEMA],
  [SCHEMA + 1, SCHEMA + 1],
])('keys of schema %i can be shared, and are of schema %i after', async (found, after) => {
  await fixture.raw.set(keys.schema, found);
  await fixture.store(`replica-${found}`);
  expect(await fixture.raw.get(keys.schema)).toBe(String(after));
});

test.each([SCHEMA + 2, SCHEMA - 2])('keys of schema %i are refused, and stay', async (found) => {
  await fixture.raw.set(keys.schema, found);
  await expect(fixture.store(`replica-${found}`)).rejects.toMatchObject({
    code: 'failed_precondition',
    reason: 'SCHEMA',
    message: `the keys in this Redis are of schema ${found}, this version is of ${SCHEMA}: run the version in between first, or use another Redis`,
  });
  expect(await fixture.raw.get(keys.schema)).toBe(String(found));
});
