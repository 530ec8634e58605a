/** The names under which W3C trace context travels: as call metadata, and in a job's own metadata. They are not the job's content. */
export const TRACEPARENT = 'traceparent';
export const TRACESTATE = 'tracestate';

/** Of the span that is to be the parent. `traceId`: 32 digits of lower-case hex, `spanId`: 16; `flags`: one byte. */
export interface TraceContext {
  traceId: string;
  spanId: string;
  flags: number;
  /** As it stands in `tracestate`; '' for none. */
  state: string;
}

/** Version 00 has no more; a later one may have more after another dash. ff is none. */
const PARENT = /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:$|-)/;
const PARENT_LENGTH = 55;
const PARENT_MAX = 128;
/** What everybody must pass on, by the recommendation; more is left out. */
const STATE_MAX = 512;
const STATE = /^[\x20-\x7e]+$/;

/** undefined: it is not there, or none that anybody could read. That is no error: a trace is less than a job. */
export function readTrace(parent: string | undefined, state: string | undefined): TraceContext | undefined {
  if (parent === undefined || parent.length > PARENT_MAX) return undefined;
  const [, version, traceId, spanId, flags] = PARENT.exec(parent) ?? [];
  if (traceId === undefined || spanId === undefined || (version === '00' && parent.length !== PARENT_LENGTH)) return undefined;
  const known = state !== undefined && state.length <= STATE_MAX && STATE.test(state);
  return { traceId, spanId, flags: Number.parseInt(flags ?? '00', 16), state: known ? state : '' };
}

/** The same as entries of call metadata, or of a job's. */
export function writeTrace({ traceId, spanId, flags, state }: TraceContext): Record<string, string> {
  const parent = { [TRACEPARENT]: `00-${traceId}-${spanId}-${flags.toString(16).padStart(2, '0')}` };
  return state === '' || state.length > STATE_MAX ? parent : { ...parent, [TRACESTATE]: state };
}

/** That of a job; undefined: it belongs to none. */
export function traceOf(metadata: Readonly<Record<string, string>>): TraceContext | undefined {
  return readTrace(metadata[TRACEPARENT], metadata[TRACESTATE]);
}

/** A job's metadata without the trace that it belongs to. The same object when there is none. */
export function withoutTrace(metadata: Record<string, string>): Record<string, string> {
  if (!(TRACEPARENT in metadata) && !(TRACESTATE in metadata)) return metadata;
  const { [TRACEPARENT]: _parent, [TRACESTATE]: _state, ...rest } = metadata;
  return rest;
}
