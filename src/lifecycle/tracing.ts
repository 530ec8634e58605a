import { context, createTraceState, ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, type Tracer, trace } from '@opentelemetry/api';
import type { Assignment, JobSpec } from '../domain/job.js';
import type { LeaseRef } from '../domain/link.js';
import { type JobEnd, type Observer, type Submitting, UNOBSERVED } from '../domain/observer.js';
import { traceOf } from '../domain/trace.js';

/**
 * Spans of submissions, for a process that an OpenTelemetry SDK was loaded into; without one nothing is kept and nothing recorded. The job's own
 * trace context stays that of its client: workers are told of it, whoever traces in between.
 */
export function tracing(version: string): Observer {
  const tracer = trace.getTracer('muster', version);
  const open = new OpenSpans();
  return {
    ...UNOBSERVED,
    submitting: (spec) => submitting(tracer, open, spec),
    assigned: ({ pool, jobId, worker, attempt }: Assignment) =>
      open.event(pool, jobId, 'matched', { 'muster.worker': worker, 'muster.attempt': attempt }),
    ended: ({ pool, jobId }: LeaseRef, { state, attempt }: JobEnd) =>
      open.event(pool, jobId, 'finished', { 'muster.state': state, 'muster.attempt': attempt }),
  };
}

/** Spans under way here, by job: as many as there are calls that wait. */
class OpenSpans {
  readonly #spans = new Map<string, Set<Span>>();

  add(pool: string, id: string, span: Span): void {
    const key = `${pool} ${id}`;
    const there = this.#spans.get(key);
    if (there) there.add(span);
    else this.#spans.set(key, new Set([span]));
  }

  remove(pool: string, id: string, span: Span): void {
    const key = `${pool} ${id}`;
    const there = this.#spans.get(key);
    there?.delete(span);
    if (there?.size === 0) this.#spans.delete(key);
  }

  event(pool: string, id: string, name: string, attributes: Record<string, string | number>): void {
    if (this.#spans.size === 0) return;
    for (const span of this.#spans.get(`${pool} ${id}`) ?? []) span.addEvent(name, attributes);
  }
}

function submitting(tracer: Tracer, open: OpenSpans, spec: JobSpec): Submitting | undefined {
  const parent = traceOf(spec.metadata);
  const from =
    parent === undefined
      ? context.active()
      : trace.setSpanContext(ROOT_CONTEXT, {
          traceId: parent.traceId,
          spanId: parent.spanId,
          traceFlags: parent.flags,
          traceState: createTraceState(parent.state),
          isRemote: true,
        });
  const span = tracer.startSpan('muster.submit', { kind: SpanKind.SERVER }, from);
  if (!span.isRecording()) return undefined;
  const { pool, id, kind, method } = spec;
  span.setAttributes({ 'muster.pool': pool, 'muster.kind': kind === '' ? method : kind, 'muster.job.id': id });
  open.add(pool, id, span);
  return {
    accepted: (created) => {
      span.setAttribute('muster.created', created);
      span.addEvent('accepted');
    },
    over: (error) => {
      open.remove(pool, id, span);
      if (error) span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
      span.end();
    },
  };
}
