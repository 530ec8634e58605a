import { context, createTraceState, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { toError } from '../domain/errors.js';
import { traceOf, writeTrace } from '../domain/trace.js';
import type { Assignment } from '../grpc/generated/muster/v1/common.js';
import type { JobSpec } from '../grpc/generated/muster/v1/job.js';

/** A proxy: an SDK that is installed later is found too. */
const tracer = trace.getTracer('muster-grpc');

/** The trace context as entries of metadata: that of a span, or of what is active. None without an SDK, and without a parent. */
export function traceEntries(span: Span | undefined = trace.getSpan(context.active())): Record<string, string> {
  const now = span?.spanContext();
  if (now === undefined || !trace.isSpanContextValid(now)) return {};
  return writeTrace({ traceId: now.traceId, spanId: now.spanId, flags: now.traceFlags, state: now.traceState?.serialize() ?? '' });
}

/** A submission as a span of its own; `over` ends it. The job belongs to it, unless its metadata names another. */
export function producing(spec: JobSpec): { over: (error?: unknown) => void } {
  const span = tracer.startSpan('muster.submit', { kind: SpanKind.PRODUCER });
  if (span.isRecording()) span.setAttributes(attributesOf(spec.pool, spec.work?.value ?? '', spec.id));
  if (traceOf(spec.metadata) === undefined) spec.metadata = { ...spec.metadata, ...traceEntries(span) };
  return { over: (error) => end(span, error) };
}

/** Runs an attempt in a span below that of the job's submission. */
export async function consuming<T>(pool: string, assignment: Assignment, run: () => Promise<T>): Promise<T> {
  const { kind, method, jobId, attempt, metadata } = assignment;
  const from = traceOf(metadata);
  const remote = from && {
    traceId: from.traceId,
    spanId: from.spanId,
    traceFlags: from.flags,
    traceState: createTraceState(from.state),
    isRemote: true,
  };
  const parent = remote === undefined ? context.active() : trace.setSpanContext(context.active(), remote);
  const span = tracer.startSpan('muster.job', { kind: SpanKind.CONSUMER }, parent);
  if (span.isRecording()) span.setAttributes({ ...attributesOf(pool, kind === '' ? method : kind, jobId), 'muster.attempt': attempt });
  try {
    const result = await context.with(trace.setSpan(parent, span), run);
    end(span, undefined);
    return result;
  } catch (error) {
    end(span, error ?? new Error('the handler threw nothing'));
    throw error;
  }
}

function attributesOf(pool: string, kind: string, id: string): Record<string, string> {
  return { 'muster.pool': pool, 'muster.kind': kind, 'muster.job.id': id };
}

function end(span: Span, thrown: unknown): void {
  if (thrown !== undefined) {
    const error = toError(thrown);
    span.recordException(error);
    span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
  }
  span.end();
}
