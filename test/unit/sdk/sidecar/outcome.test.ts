import { describe, expect, it } from 'vitest';
import { type Answer, answered, broken, unsent } from '../../../../src/domain/answer.js';
import { Code, type Outcome } from '../../../../src/domain/job.js';
import { readUpstream } from '../../../../src/sdk/sidecar/outcome.js';

const read = (answer: Answer, aborted = false) => readUpstream({ answer, method: '/a.B/C', aborted, maxResultBytes: 8 });

/** A status that the upstream itself sent. */
const said = (code: number, details = 'why') => broken({ code, details, contentType: 'application/grpc', headers: false, alive: true });

/** `code reason`, and whether it is tried again. */
function word(outcome: Outcome): string {
  if (outcome.ok) return `ok ${outcome.output.toString()}`;
  const { code, reason, retryable } = outcome.failure;
  return `${code} ${reason} ${retryable ? 'again' : 'never'}`;
}

describe("an upstream's answer", () => {
  it('that is OK is the output, as it came', () => {
    expect(word(read(answered(Buffer.from('bytes'))))).toBe('ok bytes');
  });

  it.each<[string, Answer, string]>([
    ['UNIMPLEMENTED', said(Code.UNIMPLEMENTED), '12 unknown_method again'],
    ['an OK without a message', said(Code.UNIMPLEMENTED, 'No message received'), '13 bad_answer again'],
    ['RESOURCE_EXHAUSTED', said(Code.RESOURCE_EXHAUSTED), '8 busy again'],
    ['INVALID_ARGUMENT', said(Code.INVALID_ARGUMENT), '3 worker_error never'],
    ['NOT_FOUND', said(Code.NOT_FOUND), '5 worker_error never'],
    ['PERMISSION_DENIED', said(Code.PERMISSION_DENIED), '7 worker_error never'],
    ['INTERNAL', said(Code.INTERNAL), '13 worker_error again'],
    ['UNAVAILABLE that it said', said(Code.UNAVAILABLE), '14 worker_lost again'],
    ['UNAVAILABLE before sending', unsent(Code.UNAVAILABLE, 'connect ECONNREFUSED', 'silent'), '14 unreachable again'],
    [
      'a refused stream',
      broken({ code: Code.UNAVAILABLE, details: 'Stream refused by server', contentType: '', headers: false, alive: true }),
      '14 unreachable again',
    ],
    [
      'a connection that broke',
      broken({ code: Code.UNAVAILABLE, details: 'Connection dropped', contentType: '', headers: true, alive: false }),
      '14 worker_lost again',
    ],
    ['DEADLINE_EXCEEDED', broken({ code: Code.DEADLINE_EXCEEDED, details: '', contentType: '', headers: false, alive: true }), '4 run_timeout again'],
    ['an answer above the limit', answered(Buffer.alloc(9)), '8 result_too_large never'],
    [
      'an answer that gRPC refuses on arrival',
      broken({ code: Code.RESOURCE_EXHAUSTED, details: 'Received message larger than max (99 vs 8)', contentType: '', headers: true, alive: true }),
      '8 result_too_large never',
    ],
  ])('%s', (_, answer, expected) => {
    expect(word(read(answer))).toBe(expected);
  });

  it('after our own cancel is read as cancelled, sent or not', () => {
    const cancelled = broken({ code: Code.CANCELLED, details: 'Cancelled on client', contentType: '', headers: false, alive: true });
    expect([word(read(cancelled, true)), word(read(unsent(Code.CANCELLED, '', 'silent'), true))]).toEqual(['1 aborted again', '1 aborted again']);
    expect(word(read(cancelled))).toBe('1 worker_lost again');
  });
});
