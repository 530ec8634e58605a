import type { Codec, Received, Sent } from './codec.js';

/** What a job is, for the side that runs it and the side that wants it. */
export interface JobDefinition<Input extends Codec | undefined = undefined, Output extends Codec | undefined = undefined> {
  /** A kind, or a method as `/package.Service/Method`. */
  readonly kind: string;
  /** Where it is submitted to. Default `default`. */
  readonly pool?: string;
  readonly input?: Input;
  readonly output?: Output;
}

/** Any definition, whatever its types. */
export interface AnyJob {
  readonly kind: string;
  readonly pool?: string;
  readonly input?: Codec;
  readonly output?: Codec;
}

/** One codec for both ways, or one each. */
export type Codecs = Codec | { readonly input?: Codec; readonly output?: Codec };

export type CodecIn<C> = C extends Codec ? C : C extends { readonly input?: infer I } ? I : undefined;
export type CodecOut<C> = C extends Codec ? C : C extends { readonly output?: infer O } ? O : undefined;

/** The type that a client gives. */
export type InputSent<J> = Sent<CodecIn<J>>;
/** The type that a handler is given. */
export type InputReceived<J> = Received<CodecIn<J>>;
/** The type that a handler answers. */
export type OutputSent<J> = Sent<CodecOut<J>>;
/** The type that a client gets. */
export type OutputReceived<J> = Received<CodecOut<J>>;

/** One definition that worker and client share: it gives both their types, and both check them. */
export function defineJob<const Input extends Codec | undefined = undefined, const Output extends Codec | undefined = undefined>(
  definition: JobDefinition<Input, Output>,
): JobDefinition<Input, Output> {
  return definition;
}

/** Both forms as one. */
export function jobOf(job: string | AnyJob, codecs?: Codecs): AnyJob {
  if (typeof job !== 'string') return job;
  if (codecs === undefined) return { kind: job };
  if (codecs === 'bytes' || '~standard' in codecs || 'encode' in codecs) return { kind: job, input: codecs, output: codecs };
  return { kind: job, input: codecs.input, output: codecs.output };
}

/** A job that names a method begins with a slash; a kind cannot. */
export function isMethod(kind: string): boolean {
  return kind.startsWith('/');
}
