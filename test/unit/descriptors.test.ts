import { describe, expect, it } from 'vitest';
import { MAX_DESCRIPTORS_BYTES, readDescriptors, unaryMethods } from '../../src/domain/descriptors.js';
import { MusterError } from '../../src/domain/errors.js';
import { emptyFiles, setOf } from '../helpers/descriptors.js';

const COMMON = 'muster/v1/common.proto';
const JOB = 'muster/v1/job.proto';
const TIMES = ['google/protobuf/duration.proto', 'google/protobuf/timestamp.proto'];

function refusal(set: Uint8Array): MusterError {
  try {
    readDescriptors(set, 'file_descriptor_set');
  } catch (error) {
    if (error instanceof MusterError) return error;
    throw error;
  }
  throw new Error('it was taken');
}

describe('a FileDescriptorSet', () => {
  it.each([[[JOB, COMMON, ...TIMES]], [[...TIMES, COMMON, JOB]]])('is read whatever the order of its files', (names) => {
    const registry = readDescriptors(setOf(...names), 'set');
    const paths = [...unaryMethods(registry).keys()];
    expect(paths).toContain('/muster.v1.JobService/SubmitJob');
    expect(paths).not.toContain('/muster.v1.JobService/Session');
    expect(paths).toEqual([...paths].sort());
    expect(registry.getMessage('google.protobuf.Duration')).toBeDefined();
  });

  it('may name a file twice', () => {
    expect([...unaryMethods(readDescriptors(setOf('job/job.proto', 'job/job.proto'), 'set')).keys()]).toEqual([
      '/job.JobService/Ping',
      '/job.JobService/RunJob',
    ]);
  });

  it.each([
    ['no bytes', Buffer.alloc(0), 'must be set'],
    ['bytes of something else', Buffer.from('not a descriptor set'), 'cannot be parsed as a google.protobuf.FileDescriptorSet'],
    ['a set without files', Buffer.from([0x12, 0x00]), 'holds no file'],
    [
      'a missing import',
      setOf(JOB, COMMON, 'google/protobuf/duration.proto'),
      'lacks "google/protobuf/timestamp.proto", which "muster/v1/job.proto" imports',
    ],
    ['files that import each other', emptyFiles({ 'a.proto': ['b.proto'], 'b.proto': ['a.proto'] }), '"a.proto" imports itself'],
    ['too many bytes', Buffer.alloc(MAX_DESCRIPTORS_BYTES + 1), `has ${MAX_DESCRIPTORS_BYTES + 1} bytes, of at most ${MAX_DESCRIPTORS_BYTES}`],
  ])('with %s is refused, and the refusal names the field', (_, set, said) => {
    const error = refusal(set);
    expect([error.code, error.field]).toEqual(['invalid_argument', 'file_descriptor_set']);
    expect(error.message).toContain(`file_descriptor_set: ${said}`);
  });

  it('with a chain of imports that is too deep to follow is refused, not crashed over', () => {
    const files = Object.fromEntries(Array.from({ length: 30_000 }, (_, i) => [`${i}`, i === 29_999 ? [] : [`${i + 1}`]]));
    expect(refusal(emptyFiles(files)).code).toBe('invalid_argument');
  });
});
