import type { Duration } from '../grpc/generated/google/protobuf/duration.js';

/** A google.protobuf.Duration of so many ms; fractions count to the nanosecond. */
export function toDuration(ms: number): Duration {
  const seconds = Math.trunc(ms / 1000);
  return { seconds: String(seconds), nanos: Math.round((ms - seconds * 1000) * 1_000_000) };
}

/** A Duration in ms; undefined stays undefined. */
export function fromDuration(duration: Duration | undefined): number | undefined {
  return duration === undefined ? undefined : Number(duration.seconds) * 1000 + duration.nanos / 1_000_000;
}
