import { describe, expect, it } from 'vitest';
import {
  PingRequest as JobPingRequest,
  JobRequest,
  JobResponse,
  JobServiceService,
  PingResponse,
  WorkerStatus,
} from '../../src/grpc/generated/job/job.js';
import { RegisterAck as MusterRegisterAck, WorkerInfo as MusterWorkerInfo } from '../../src/grpc/generated/muster/v1/worker.js';
import { PingRequest, PongResponse, RegisterAck, WorkerInfo, WorkerServiceService } from '../../src/grpc/generated/worker/worker.js';

/**
 * The bytes of the first contract, written by hand from the wire format: tag = number * 8 + wire type (0 varint, 2 length and bytes).
 * Fleets in the field speak exactly these.
 */
interface Codec<T> {
  encode(message: T): { finish(): Uint8Array };
  decode(bytes: Uint8Array): T;
}

function golden<T>(name: string, codec: Codec<T>, message: T, hex: string): void {
  const bytes = Buffer.from(hex.replace(/\s+/g, ''), 'hex');
  it(`${name} is written as those bytes`, () => {
    expect(Buffer.from(codec.encode(message).finish()).toString('hex')).toBe(bytes.toString('hex'));
  });
  it(`${name} is read from those bytes`, () => {
    expect(codec.decode(bytes)).toEqual(message);
  });
}

describe('worker.proto', () => {
  golden(
    'WorkerInfo',
    WorkerInfo,
    { id: 'w-1', ip: '10.0.0.7', port: 6000, region: 'eu' },
    // 6000 = 0b0101110_1110000: low seven bits f0 with the continuation bit, then 2e.
    '0a 03 77 2d 31  12 08 31 30 2e 30 2e 30 2e 37  18 f0 2e  22 02 65 75',
  );
  golden('WorkerInfo of defaults', WorkerInfo, { id: '', ip: '', port: 0, region: '' }, '');
  golden(
    'WorkerInfo with a negative port',
    WorkerInfo,
    { id: '', ip: '', port: -1, region: '' },
    // int32 is sign-extended to 64 bits: ten bytes.
    '18 ff ff ff ff ff ff ff ff ff 01',
  );
  golden('WorkerInfo with text beyond ASCII', WorkerInfo, { id: 'é', ip: '', port: 1, region: '' }, '0a 02 c3 a9  18 01');
  golden('RegisterAck', RegisterAck, { success: true, message: 'ok' }, '08 01  12 02 6f 6b');
  golden('RegisterAck of a refusal', RegisterAck, { success: false, message: 'no' }, '12 02 6e 6f');
  golden('PingRequest', PingRequest, { id: 'w-1' }, '0a 03 77 2d 31');
  golden('PongResponse', PongResponse, { healthy: true }, '08 01');
  golden('PongResponse that says no', PongResponse, { healthy: false }, '');

  it('is spoken at the paths that fleets call', () => {
    expect(paths(WorkerServiceService)).toEqual(['/worker.WorkerService/Register', '/worker.WorkerService/Ping']);
  });

  it('reads an answer of muster.v1 as its own, and muster.v1 reads its registration', () => {
    const ack = MusterRegisterAck.encode({
      success: true,
      message: 'ok',
      boot: 'b',
      replica: 'r',
      pingInterval: { seconds: '5', nanos: 0 },
    }).finish();
    expect(RegisterAck.decode(ack)).toEqual({ success: true, message: 'ok' });
    const info = MusterWorkerInfo.decode(Buffer.from('0a03772d31120831302e302e302e3718f02e22026575', 'hex'));
    expect(info).toMatchObject({ id: 'w-1', ip: '10.0.0.7', port: 6000, region: 'eu', pool: '', boot: '' });
  });
});

describe('job.proto', () => {
  golden(
    'JobRequest',
    JobRequest,
    { jobId: 'j1', repoUrl: 'r', branch: 'main', dockerfilePath: 'D', contextDir: '.', imageName: 'i:1', githubToken: 't' },
    '0a 02 6a 31  12 01 72  1a 04 6d 61 69 6e  22 01 44  2a 01 2e  32 03 69 3a 31  3a 01 74',
  );
  golden(
    'JobRequest of defaults',
    JobRequest,
    { jobId: '', repoUrl: '', branch: '', dockerfilePath: '', contextDir: '', imageName: '', githubToken: '' },
    '',
  );
  golden(
    'JobResponse',
    JobResponse,
    { jobId: 'j1', success: true, logs: 'log', imageUrl: 'u', error: '' },
    '0a 02 6a 31  10 01  1a 03 6c 6f 67  22 01 75',
  );
  golden(
    'JobResponse of a failed job',
    JobResponse,
    { jobId: 'j1', success: false, logs: '', imageUrl: '', error: 'no' },
    '0a 02 6a 31  2a 02 6e 6f',
  );
  golden(
    'JobResponse with logs above 127 bytes',
    JobResponse,
    { jobId: '', success: false, logs: 'x'.repeat(300), imageUrl: '', error: '' },
    // 300 = 0b10_0101100: ac with the continuation bit, then 02.
    `1a ac 02 ${'78 '.repeat(300)}`,
  );
  golden('PingRequest', JobPingRequest, {}, '');
  golden('PingResponse when free', PingResponse, { workerId: 'w', status: WorkerStatus.FREE }, '0a 01 77  10 01');
  golden('PingResponse when busy', PingResponse, { workerId: 'w', status: WorkerStatus.BUSY }, '0a 01 77  10 02');
  golden('PingResponse that does not say', PingResponse, { workerId: 'w', status: WorkerStatus.UNKNOWN }, '0a 01 77');

  it('is spoken at the paths that workers serve', () => {
    expect(paths(JobServiceService)).toEqual(['/job.JobService/RunJob', '/job.JobService/Ping']);
  });
});

function paths(service: Record<string, { path: string; requestStream: boolean; responseStream: boolean }>): string[] {
  for (const method of Object.values(service)) expect(method).toMatchObject({ requestStream: false, responseStream: false });
  return Object.values(service).map((method) => method.path);
}
