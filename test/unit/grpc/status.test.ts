import { type Metadata, status as Status } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { type ErrorCode, invalid, MusterError, unavailable } from '../../../src/domain/errors.js';
import { BadRequest, ErrorInfo, RetryInfo } from '../../../src/grpc/generated/google/rpc/error_details.js';
import { Status as RpcStatus } from '../../../src/grpc/generated/google/rpc/status.js';
import { toStatus, wordsOf } from '../../../src/grpc/status.js';

const TYPE = 'type.googleapis.com/google.rpc.';

function details(metadata: Metadata) {
  const [bytes, ...more] = metadata.get('grpc-status-details-bin');
  expect(more).toEqual([]);
  const status = RpcStatus.decode(Buffer.from(bytes as Buffer));
  const find = (name: string) => status.details.find(({ typeUrl }) => typeUrl === TYPE + name)?.value;
  const [info, bad, retry] = [find('ErrorInfo'), find('BadRequest'), find('RetryInfo')];
  return {
    status,
    info: info && ErrorInfo.decode(info),
    bad: bad && BadRequest.decode(bad),
    retry: retry && RetryInfo.decode(retry),
  };
}

describe('toStatus', () => {
  const expected: Record<ErrorCode, Status> = {
    invalid_argument: Status.INVALID_ARGUMENT,
    unauthenticated: Status.UNAUTHENTICATED,
    permission_denied: Status.PERMISSION_DENIED,
    failed_precondition: Status.FAILED_PRECONDITION,
    already_exists: Status.ALREADY_EXISTS,
    aborted: Status.ABORTED,
    not_found: Status.NOT_FOUND,
    resource_exhausted: Status.RESOURCE_EXHAUSTED,
    unavailable: Status.UNAVAILABLE,
    internal: Status.INTERNAL,
  };
  it.each(Object.entries(expected))('maps %s to its code, with ErrorInfo', (code, number) => {
    const reply = toStatus(new MusterError(code as ErrorCode, 'WHY', 'a message'));
    const { status, info, bad, retry } = details(reply.metadata);
    expect(reply.code).toBe(number);
    expect(status.code).toBe(number);
    expect(status.message).toBe(reply.details);
    expect(info).toEqual({ reason: 'WHY', domain: 'muster', metadata: {} });
    expect(bad).toBeUndefined();
    expect(retry).toBeUndefined();
  });

  it('names the field at fault three times over: message, ErrorInfo, BadRequest', () => {
    const reply = toStatus(invalid('spec.retry.max_attempts', 'must be 0 to 100'));
    const { info, bad } = details(reply.metadata);
    expect(reply.details).toBe('spec.retry.max_attempts: must be 0 to 100');
    expect(info?.metadata).toEqual({ field: 'spec.retry.max_attempts' });
    expect(bad?.fieldViolations).toEqual([{ field: 'spec.retry.max_attempts', description: 'must be 0 to 100' }]);
  });

  it('says when to try again, to the millisecond', () => {
    expect(details(toStatus(unavailable('REDIS', 'away')).metadata).retry).toEqual({ retryDelay: { seconds: '0', nanos: 200_000_000 } });
    const long = new MusterError('resource_exhausted', 'FULL', 'full', { retryAfterMs: 61_001 });
    expect(details(toStatus(long).metadata).retry).toEqual({ retryDelay: { seconds: '61', nanos: 1_000_000 } });
  });

  it.each([
    [new Error('redis://user:secret@host failed')],
    [new TypeError('secret')],
    ['secret'],
    [undefined],
    [null],
    [{ code: 5, details: 'secret' }],
  ])('tells nothing of what was not meant to be told (%#)', (thrown) => {
    const reply = toStatus(thrown);
    expect(reply.code).toBe(Status.INTERNAL);
    expect(JSON.stringify([reply.details, details(reply.metadata)])).not.toContain('secret');
  });

  it('keeps the reason of an internal error, and not its message', () => {
    const reply = toStatus(new MusterError('internal', 'BAD_REPLY', 'the script said secret'));
    expect(reply.details).not.toContain('secret');
    expect(details(reply.metadata).info?.reason).toBe('BAD_REPLY');
  });

  it('bounds what goes into the headers', () => {
    const reply = toStatus(invalid('f'.repeat(5000), 'ü'.repeat(5000)));
    const size =
      Buffer.byteLength(encodeURIComponent(reply.details)) + Buffer.from(reply.metadata.get('grpc-status-details-bin')[0] as Buffer).length;
    expect(size).toBeLessThan(8_000);
  });
});

describe('wordsOf', () => {
  it('gives the same words without the envelope', () => {
    expect(wordsOf(invalid('id', 'must be set'))).toEqual({ code: Status.INVALID_ARGUMENT, message: 'id: must be set', reason: 'INVALID_FIELD' });
    expect(wordsOf(new Error('secret'))).toMatchObject({ code: Status.INTERNAL, reason: 'INTERNAL' });
  });
});
