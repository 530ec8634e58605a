import { expect, it } from 'vitest';
import { type Answer, answered, broken, unsent } from '../../../../src/domain/answer.js';
import { Code } from '../../../../src/domain/job.js';
import { HealthCheckResponse } from '../../../../src/grpc/generated/grpc/health/v1/health.js';
import { readHealth } from '../../../../src/sdk/sidecar/health.js';

const status = (value: number) => answered(Buffer.from(HealthCheckResponse.encode({ status: value }).finish()));
const said = (code: number) => broken({ code, details: 'why', contentType: 'application/grpc', headers: false, alive: true });

it.each<[string, Answer, string]>([
  ['SERVING', status(1), 'serves'],
  ['NOT_SERVING', status(2), 'NOT_SERVING'],
  ['SERVICE_UNKNOWN', status(3), 'SERVICE_UNKNOWN'],
  ['UNKNOWN', status(0), 'UNKNOWN'],
  ['a status of a later version', status(99), 'status 99'],
  ['bytes that are no answer', answered(Buffer.from([0xff])), 'its health cannot be decoded'],
  ['no health protocol', said(Code.UNIMPLEMENTED), 'serves'],
  ['no word on the server as a whole', said(Code.NOT_FOUND), 'serves'],
  ['health for others only', said(Code.PERMISSION_DENIED), 'serves'],
  ['nobody there', unsent(Code.UNAVAILABLE, 'connect ECONNREFUSED', 'silent'), 'unreachable: connect ECONNREFUSED'],
  ['no answer', broken({ code: Code.DEADLINE_EXCEEDED, details: 'late', contentType: '', headers: false, alive: true }), 'does not answer: late'],
])('an upstream with %s', (_, answer, expected) => {
  const serving = readHealth(answer);
  expect(serving.serving ? 'serves' : serving.why).toContain(expected);
});
