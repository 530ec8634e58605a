import { CodecError } from './errors.js';

/** What a validator of the Standard Schema specification (zod, valibot, arktype …) looks like, as far as it is used here. */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

type StandardResult<Output> = { readonly value: Output; readonly issues?: undefined } | { readonly issues: readonly StandardIssue[] };

interface StandardIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** A codec of one's own. */
export interface Coder<Value> {
  encode(value: Value): Uint8Array | Promise<Uint8Array>;
  decode(bytes: Buffer): Value | Promise<Value>;
}

/**
 * How values become bytes. A schema: JSON, validated on both sides; what is sent is the value as given, what is received is what the schema
 * made of it. `'bytes'`: as they are. No codec: JSON, unchecked; `undefined` is no bytes.
 */
export type Codec = 'bytes' | StandardSchema | AnyCoder;

/** Any Coder, whatever its values. */
export interface AnyCoder {
  encode(value: never): Uint8Array | Promise<Uint8Array>;
  decode(bytes: Buffer): unknown;
}

/** The type of what may be sent through that codec. */
export type Sent<C> = C extends 'bytes'
  ? Uint8Array
  : C extends StandardSchema<infer Input, unknown>
    ? Input
    : C extends { encode(value: infer Value): unknown }
      ? Value
      : unknown;

/** The type of what is received through that codec. */
export type Received<C> = C extends 'bytes'
  ? Buffer
  : C extends StandardSchema<unknown, infer Output>
    ? Output
    : C extends { decode(bytes: Buffer): infer Value }
      ? Awaited<Value>
      : unknown;

/** A codec at work. Both throw CodecError. */
export interface Wire {
  toBytes(value: unknown): Promise<Buffer>;
  fromBytes(bytes: Buffer): Promise<unknown>;
}

/** `what` names the value in messages, such as `input of greet`. */
export function wireOf(codec: Codec | undefined, what: string): Wire {
  if (codec === undefined) return { toBytes: async (value) => toJson(value, what), fromBytes: async (bytes) => fromJson(bytes, what) };
  if (codec === 'bytes') return { toBytes: async (value) => toBytes(value, what), fromBytes: async (bytes) => bytes };
  if ('~standard' in codec) return schemaWire(codec, what);
  // A coder's own type stands in Sent and Received; here any value goes in.
  const { encode, decode } = codec as Coder<unknown>;
  return {
    toBytes: async (value) => toBytes(await said(`${what}: cannot be encoded`, () => encode.call(codec, value)), what),
    fromBytes: (bytes) => said(`${what}: cannot be decoded`, () => decode.call(codec, bytes)),
  };
}

function schemaWire(schema: StandardSchema, what: string): Wire {
  const check = async (value: unknown) => {
    const result = await schema['~standard'].validate(value);
    if (result.issues === undefined) return result.value;
    throw new CodecError(`${what}: ${result.issues.map(wordsOf).join('; ')}`, { cause: result.issues });
  };
  return {
    toBytes: async (value) => {
      await check(value);
      return toJson(value, what);
    },
    fromBytes: async (bytes) => check(fromJson(bytes, what)),
  };
}

function wordsOf({ message, path = [] }: StandardIssue): string {
  const names = path.map((part) => String(typeof part === 'object' ? part.key : part));
  return names.length === 0 ? message : `${names.join('.')}: ${message}`;
}

export function toJson(value: unknown, what: string): Buffer {
  if (value === undefined) return Buffer.alloc(0);
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (cause) {
    throw new CodecError(`${what}: cannot be written as JSON: ${String(cause)}`, { cause });
  }
  if (text === undefined) throw new CodecError(`${what}: a ${typeof value} cannot be written as JSON`);
  return Buffer.from(text);
}

export function fromJson(bytes: Buffer, what: string): unknown {
  if (bytes.length === 0) return undefined;
  try {
    return JSON.parse(bytes.toString());
  } catch (cause) {
    throw new CodecError(`${what}: is no JSON: ${String(cause)}`, { cause });
  }
}

function toBytes(value: unknown, what: string): Buffer {
  if (!(value instanceof Uint8Array)) throw new CodecError(`${what}: must be bytes (a Buffer or Uint8Array), not ${typeof value}`);
  return Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}

async function said<T>(words: string, run: () => T | Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (cause) {
    throw new CodecError(`${words}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}
