import { fromBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { type FileDescriptorProto, FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { type ClientDuplexStream, Metadata, type ServiceError } from '@grpc/grpc-js';
import type { Clock } from '../../domain/clock.js';
import { MAX_DESCRIPTORS_BYTES } from '../../domain/descriptors.js';
import { toError } from '../../domain/errors.js';
import { Code } from '../../domain/job.js';
import {
  type ServerReflectionRequest,
  type ServerReflectionResponse,
  ServerReflectionService,
} from '../../grpc/generated/grpc/reflection/v1/reflection.js';
import { ServerReflectionService as ServerReflectionServiceAlpha } from '../../grpc/generated/grpc/reflection/v1alpha/reflection.js';
import type { Upstream } from './upstream.js';

type Asked = NonNullable<ServerReflectionRequest['messageRequest']>;
type Stream = ClientDuplexStream<ServerReflectionRequest, ServerReflectionResponse>;

/** Reflection describes itself too; nobody runs that as a job. */
const REFLECTION = /^grpc\.reflection\./;
/** `repeated FileDescriptorProto file = 1` of FileDescriptorSet. */
const FILE_FIELD = 1;
/** The two versions have the same messages, under two names. */
const VERSIONS = [ServerReflectionService.serverReflectionInfo, ServerReflectionServiceAlpha.serverReflectionInfo];

/** The upstream does not serve reflection, in either version. */
export class NoReflection extends Error {
  override readonly name = 'NoReflection';
}

/**
 * What the upstream says of its own services: a serialized google.protobuf.FileDescriptorSet with all imports. Rejects with NoReflection,
 * or an Error that says what was not answered, or that it is larger than MAX_DESCRIPTORS_BYTES.
 */
export async function readReflection(upstream: Upstream, clock: Clock, timeoutMs: number): Promise<Buffer> {
  const deadline = clock.now() + timeoutMs;
  for (const method of VERSIONS) {
    const { path, requestSerialize, responseDeserialize } = method;
    const call: Stream = upstream.client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, new Metadata(), { deadline });
    const conversation = new Conversation(call);
    try {
      return await collect(conversation);
    } catch (thrown) {
      if (!isUnimplemented(thrown)) throw thrown;
    } finally {
      conversation.end();
    }
  }
  throw new NoReflection('the upstream serves no reflection');
}

/** One question at a time over one stream. */
class Conversation {
  readonly #call: Stream;
  readonly #answers: AsyncIterator<ServerReflectionResponse>;

  constructor(call: Stream) {
    this.#call = call;
    // What breaks the stream comes out of the iterator; unheard, the event would end the process.
    call.on('error', () => undefined);
    this.#answers = call[Symbol.asyncIterator]() as AsyncIterator<ServerReflectionResponse>;
  }

  async ask(asked: Asked): Promise<NonNullable<ServerReflectionResponse['messageResponse']>> {
    this.#call.write({ host: '', messageRequest: asked });
    const next = await this.#answers.next();
    if (next.done || next.value.messageResponse === undefined) throw new Error(`${wordsOf(asked)} was not answered`);
    return next.value.messageResponse;
  }

  end(): void {
    this.#call.end();
    this.#call.cancel();
  }
}

async function collect(conversation: Conversation): Promise<Buffer> {
  const listed = await conversation.ask({ $case: 'listServices', value: '' });
  if (listed.$case !== 'listServicesResponse') throw refusal({ $case: 'listServices', value: '' }, listed);
  const files = new Files();
  let refused: unknown;
  for (const { name } of listed.value.service) {
    if (REFLECTION.test(name)) continue;
    const answer = await conversation.ask({ $case: 'fileContainingSymbol', value: name });
    // A server may list what it cannot describe; the others are of use without it.
    if (answer.$case === 'fileDescriptorResponse') files.add(answer.value.fileDescriptorProto);
    else refused ??= refusal({ $case: 'fileContainingSymbol', value: name }, answer);
  }
  if (files.size === 0) throw refused ?? new Error('it lists no service but reflection');
  // Servers may send a file with its imports, or leave it to us to ask for them.
  for (let missing = files.missing(); missing.length > 0; missing = files.missing()) {
    for (const name of missing) {
      const asked: Asked = { $case: 'fileByFilename', value: name };
      const answer = await conversation.ask(asked);
      if (answer.$case !== 'fileDescriptorResponse') throw refusal(asked, answer);
      files.add(answer.value.fileDescriptorProto, name);
    }
  }
  return files.set();
}

class Files {
  readonly #files = new Map<string, { bytes: Uint8Array; imports: string[] }>();
  #bytes = 0;

  get size(): number {
    return this.#files.size;
  }

  /** `wanted`: a file by that name is among them, or the upstream would be asked for it for ever. */
  add(protos: Uint8Array[], wanted?: string): void {
    for (const bytes of protos) {
      const { name, dependency } = parse(bytes);
      if (this.#files.has(name)) continue;
      this.#files.set(name, { bytes, imports: dependency });
      this.#bytes += bytes.length;
      if (this.#bytes > MAX_DESCRIPTORS_BYTES) throw new Error(`what it says of its services is larger than ${MAX_DESCRIPTORS_BYTES} bytes`);
    }
    if (wanted !== undefined && !this.#files.has(wanted)) throw new Error(`the file ${wanted} was asked for, and another came`);
  }

  missing(): string[] {
    const imported = [...this.#files.values()].flatMap(({ imports }) => imports);
    return [...new Set(imported)].filter((name) => !this.#files.has(name));
  }

  /** The files as they came: encoding them again could lose what this decoder does not know. */
  set(): Buffer {
    const writer = new BinaryWriter();
    for (const { bytes } of this.#files.values()) writer.tag(FILE_FIELD, WireType.LengthDelimited).bytes(bytes);
    return Buffer.from(writer.finish());
  }
}

function parse(bytes: Uint8Array): FileDescriptorProto {
  try {
    return fromBinary(FileDescriptorProtoSchema, bytes);
  } catch (thrown) {
    throw new Error(`it sent a file that cannot be parsed: ${toError(thrown).message}`);
  }
}

function refusal(asked: Asked, answer: NonNullable<ServerReflectionResponse['messageResponse']>): Error {
  const why = answer.$case === 'errorResponse' ? `${answer.value.errorMessage} (status ${answer.value.errorCode})` : `it answered ${answer.$case}`;
  return new Error(`${wordsOf(asked)} was refused: ${why}`);
}

function wordsOf(asked: Asked): string {
  return `${asked.$case} ${typeof asked.value === 'string' ? asked.value : ''}`.trim();
}

function isUnimplemented(thrown: unknown): boolean {
  return (toError(thrown) as Partial<ServiceError>).code === Code.UNIMPLEMENTED;
}
