import { expect, test } from 'vitest';
import { readTrace, traceOf, withoutTrace, writeTrace } from '../../../src/domain/trace.js';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';
const PARENT = `00-${TRACE}-${SPAN}-01`;

test('what is read is written again as it was', () => {
  const context = readTrace(PARENT, 'a=1,b=2');
  expect(context).toEqual({ traceId: TRACE, spanId: SPAN, flags: 1, state: 'a=1,b=2' });
  expect(context && writeTrace(context)).toEqual({ traceparent: PARENT, tracestate: 'a=1,b=2' });
  expect(writeTrace({ traceId: TRACE, spanId: SPAN, flags: 0, state: '' })).toEqual({ traceparent: `00-${TRACE}-${SPAN}-00` });
});

test.each([
  ['nothing', undefined],
  ['nothing in it', ''],
  ['a version that is none', `ff-${TRACE}-${SPAN}-01`],
  ['no trace', `00-${'0'.repeat(32)}-${SPAN}-01`],
  ['no span', `00-${TRACE}-${'0'.repeat(16)}-01`],
  ['upper case', PARENT.toUpperCase()],
  ['more than version 00 has', `${PARENT}-x`],
  ['less than it has', PARENT.slice(0, -1)],
  ['something before it', ` ${PARENT}`],
  ['a later version without end', `01-${TRACE}-${SPAN}-01-${'x'.repeat(200)}`],
])('%s is no trace, and no error', (_, parent) => {
  expect(readTrace(parent, 'a=1')).toBeUndefined();
});

test('a later version is read as far as it is known', () => {
  expect(readTrace(`01-${TRACE}-${SPAN}-01-more`, undefined)).toMatchObject({ traceId: TRACE, spanId: SPAN });
});

test.each([
  ['at the bound', 'x'.repeat(512), 'x'.repeat(512)],
  ['beyond it', 'x'.repeat(513), ''],
  ['with a line break', 'a=1\nb=2', ''],
  ['of other characters', 'a=é', ''],
])('a tracestate %s', (_, state, kept) => {
  expect(readTrace(PARENT, state)?.state).toBe(kept);
});

test("a job's metadata without its trace is what it was otherwise", () => {
  const metadata = { tag: 't' };
  expect(withoutTrace(metadata)).toBe(metadata);
  expect(withoutTrace({ ...metadata, traceparent: PARENT, tracestate: 'a=1' })).toEqual(metadata);
  expect(traceOf(metadata)).toBeUndefined();
});
