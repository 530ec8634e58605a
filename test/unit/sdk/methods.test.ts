import { describe, expect, it } from 'vitest';
import { JobRequest, JobResponse, PingResponse } from '../../../src/grpc/generated/job/job.js';
import { SubmitJobRequest } from '../../../src/grpc/generated/muster/v1/job.js';
import { Methods } from '../../../src/sdk/methods.js';
import { setOf, setWithoutJsonNames } from '../../helpers/descriptors.js';

const job = new Methods(setOf('job/job.proto'), 'set');
const FILES = ['muster/v1/job.proto', 'muster/v1/common.proto', 'google/protobuf/duration.proto', 'google/protobuf/timestamp.proto'];
const muster = new Methods(setOf(...FILES), 'set');
const RUN = '/job.JobService/RunJob';
const SUBMIT = '/muster.v1.JobService/SubmitJob';

describe('methods out of descriptors', () => {
  it('are listed with the names of their messages', () => {
    expect(job.list()).toEqual([
      { path: '/job.JobService/Ping', request: 'job.PingRequest', response: 'job.PingResponse' },
      { path: RUN, request: 'job.JobRequest', response: 'job.JobResponse' },
    ]);
  });

  it('encode JSON as generated code reads it', () => {
    const bytes = job.encode(RUN, { jobId: 'j1', repoUrl: 'https://example.com/ä' });
    expect(JobRequest.decode(bytes)).toMatchObject({ jobId: 'j1', repoUrl: 'https://example.com/ä', branch: '' });
    const spec = { id: 'a', method: RUN, payload: 'AAE=', metadata: { k: 'v' }, runTimeout: '1.5s', notBefore: '2026-11-05T12:00:00Z' };
    expect(SubmitJobRequest.decode(muster.encode(SUBMIT, { spec })).spec).toMatchObject({
      id: 'a',
      work: { $case: 'method', value: RUN },
      payload: Buffer.from([0, 1]),
      metadata: { k: 'v' },
      runTimeout: { seconds: '1', nanos: 500_000_000 },
      notBefore: new Date('2026-11-05T12:00:00Z'),
    });
  });

  it('decode answers into JSON with every field there', () => {
    const response = JobResponse.fromPartial({ jobId: 'j1', logs: 'done' });
    expect(job.decode(RUN, JobResponse.encode(response).finish())).toEqual({ jobId: 'j1', success: false, logs: 'done', imageUrl: '', error: '' });
    expect(job.decode('/job.JobService/Ping', PingResponse.encode({ workerId: 'w', status: 2 }).finish())).toEqual({ workerId: 'w', status: 'BUSY' });
  });

  it('are the same when the descriptors have no JSON names, as those of Python, C++, and Java servers', () => {
    const bare = new Methods(setWithoutJsonNames(...FILES), 'set');
    const spec = { id: 'a', method: RUN, runTimeout: '1.5s', retry: { maxAttempts: 3 } };
    expect(bare.encode(SUBMIT, { spec }).equals(muster.encode(SUBMIT, { spec }))).toBe(true);
    // The names of the proto file are as good, as the proto JSON mapping says.
    expect(bare.encode(SUBMIT, { spec: { id: 'a', method: RUN, run_timeout: '1.5s', retry: { max_attempts: 3 } } })).toEqual(
      bare.encode(SUBMIT, { spec }),
    );
    expect(bare.skeleton(SUBMIT)).toEqual(muster.skeleton(SUBMIT));
    const [answer] = ['/muster.v1.JobService/ListJobs'].map((path) => [bare.decode(path, Buffer.of()), muster.decode(path, Buffer.of())]);
    expect(answer?.[0]).toEqual(answer?.[1]);
    expect(answer?.[0]).toEqual({ jobs: [], nextPageToken: '' });
  });

  it('show what a request looks like', () => {
    expect(job.skeleton(RUN)).toMatchObject({ jobId: '', repoUrl: '', githubToken: '' });
  });

  it.each([
    ['a wrong type', RUN, { jobId: 5 }, 'json: is no job.JobRequest: cannot decode field job.JobRequest.jobId from JSON: expected string, got 5'],
    ['a wrong type deep inside', SUBMIT, { spec: { metadata: { k: 1 } } }, 'field muster.v1.JobSpec.metadata'],
    ['a key that is none', RUN, { jobID: 'j' }, 'job.JobRequest has no field "jobID", but jobId, repoUrl, branch'],
    ['a key that is none deep inside', SUBMIT, { spec: { poool: 'p' } }, 'muster.v1.JobSpec has no field "poool", but id, pool, kind'],
    ['a list', RUN, [], 'is no job.JobRequest'],
    ['a word', RUN, 'hello', 'is no job.JobRequest'],
    ['two of a oneof', SUBMIT, { spec: { kind: 'a', method: 'b' } }, 'oneof'],
    ['a method that is none', '/job.JobService/Run', {}, `method: /job.JobService/Run is none of /job.JobService/Ping, ${RUN}`],
    ['a path that is none', 'RunJob', {}, 'method: RunJob is none of'],
    ['a streaming method', '/muster.v1.JobService/Session', {}, 'method: /muster.v1.JobService/Session is a streaming method'],
  ])('refuse %s', (_, path, json, said) => {
    const methods = path.startsWith('/muster') ? muster : job;
    expect(() => methods.encode(path, json)).toThrow(said);
  });

  it('refuse bytes that are no such answer', () => {
    expect(() => job.decode(RUN, Buffer.from([0xff, 0xff]))).toThrow('output: is no job.JobResponse');
  });

  it('name a few of many methods', () => {
    const all = new Methods(
      setOf(
        'muster/v1/admin.proto',
        'muster/v1/job.proto',
        'muster/v1/common.proto',
        'google/protobuf/duration.proto',
        'google/protobuf/timestamp.proto',
      ),
      'set',
    );
    expect(all.list().length).toBeGreaterThan(20);
    expect(() => all.encode('/no.Such/Method', {})).toThrow(/, and \d+ more$/);
  });
});
