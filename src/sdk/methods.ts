import { create, type DescMethod, type FileRegistry, fromBinary, fromJson, type JsonValue, toBinary, toJson } from '@bufbuild/protobuf';
import { readDescriptors, unaryMethods } from '../domain/descriptors.js';
import { invalid, toError } from '../domain/errors.js';

export interface MethodSummary {
  /** `/pkg.Svc/Method`. */
  path: string;
  /** The full names of its messages. */
  request: string;
  response: string;
}

/** Methods that a message names at the most. */
const NAMED_MAX = 20;

/** The unary methods that a FileDescriptorSet describes, and their messages to and from JSON (the proto JSON mapping). */
export class Methods {
  readonly #registry: FileRegistry;
  readonly #methods: Map<string, DescMethod>;

  /** `field` names the set in errors. Throws MusterError `invalid_argument`: see `readDescriptors`. */
  constructor(set: Uint8Array, field: string) {
    this.#registry = readDescriptors(set, field);
    this.#methods = unaryMethods(this.#registry);
  }

  list(): MethodSummary[] {
    return [...this.#methods].map(([path, { input, output }]) => ({ path, request: input.typeName, response: output.typeName }));
  }

  /** The request's bytes. Throws `invalid` for a method that is not here (naming those that are), or JSON that does not fit (naming the field). */
  encode(path: string, json: JsonValue, field = 'json'): Buffer {
    const { input } = this.#get(path);
    try {
      return Buffer.from(toBinary(input, fromJson(input, json, { registry: this.#registry })));
    } catch (thrown) {
      throw invalid(field, `is no ${input.typeName}: ${this.#explain(toError(thrown).message)}`);
    }
  }

  /** The response as JSON, every field present. Throws `invalid` as `encode` does, also for bytes that are no such message. */
  decode(path: string, bytes: Uint8Array, field = 'output'): JsonValue {
    const { output } = this.#get(path);
    try {
      return toJson(output, fromBinary(output, bytes), { registry: this.#registry, alwaysEmitImplicit: true });
    } catch (thrown) {
      throw invalid(field, `is no ${output.typeName}: ${toError(thrown).message}`);
    }
  }

  /** What a request looks like: the JSON of an empty one, every field of its top level present that has a default. */
  skeleton(path: string): JsonValue {
    const { input } = this.#get(path);
    return toJson(input, create(input), { registry: this.#registry, alwaysEmitImplicit: true });
  }

  #get(path: string): DescMethod {
    const method = this.#methods.get(path);
    if (method !== undefined) return method;
    const [, service = '', name = ''] = path.split('/');
    const streaming = this.#registry.getService(service)?.methods.some((other) => other.name === name);
    if (streaming) throw invalid('method', `${path} is a streaming method: jobs run unary ones`);
    const known = [...this.#methods.keys()];
    const more = known.length > NAMED_MAX ? `, and ${known.length - NAMED_MAX} more` : '';
    throw invalid('method', `${path} is none of ${known.slice(0, NAMED_MAX).join(', ') || '(no unary method is described)'}${more}`);
  }

  /** The library's own words name the field, or the message and the key: then the keys that would do are of help. */
  #explain(message: string): string {
    const [, type = '', key] = /^cannot decode message (\S+) from JSON: key "(.*)" is unknown$/s.exec(message) ?? [];
    const fields = this.#registry.getMessage(type)?.fields.map((field) => field.jsonName);
    if (key === undefined || fields === undefined) return message;
    return `${type} has no field ${JSON.stringify(key)}, but ${fields.join(', ') || 'none at all'}`;
  }
}
