import { type handleBidiStreamingCall, type Server, status as Status } from '@grpc/grpc-js';
import { systemClock } from '../domain/clock.js';
import { FairShare } from './fair-share.js';
import { type DescriptorFile, descriptorFiles } from './generated/descriptors.js';
import { type ServerReflectionRequest, type ServerReflectionResponse, ServerReflectionService } from './generated/grpc/reflection/v1/reflection.js';
import { ServerReflectionService as ServerReflectionServiceAlpha } from './generated/grpc/reflection/v1alpha/reflection.js';

import { Intake } from './intake.js';
import { Pacer } from './pacer.js';

type Answer = NonNullable<ServerReflectionResponse['messageResponse']>;

const MAX_NAME_CHARS = 4_096;
const OWN_SERVICES = ['grpc.reflection.v1.ServerReflection', 'grpc.reflection.v1alpha.ServerReflection'];

/**
 * Serves reflection, v1 and v1alpha (one messages' shape under two names), for the services named: `muster.v1.JobService`. Bad requests
 * are answered in band; none ends the stream. Throws for a service that no descriptor describes.
 */
export function addReflection(server: Server, serviceNames: readonly string[], pacer = new Pacer(new FairShare({ clock: systemClock }))): void {
  const index = new ReflectionIndex(serviceNames, descriptorFiles);
  const serverReflectionInfo: handleBidiStreamingCall<ServerReflectionRequest, ServerReflectionResponse> = (call) => {
    let writable = true;
    const intake = new Intake<ServerReflectionRequest>(call, pacer.enter(call), {
      take: (request) => {
        writable = call.write(index.answer(request));
      },
      // A client that asks and does not read is not read from either.
      full: () => !writable,
    });
    call.on('drain', () => {
      writable = true;
      intake.wake();
    });
    call.on('cancelled', () => intake.stop());
    call.on('end', () => call.end());
    // grpc-js ends the call; unheard, the event would end the process.
    call.on('error', () => undefined);
  };
  server.addService(ServerReflectionService, { serverReflectionInfo });
  server.addService(ServerReflectionServiceAlpha, { serverReflectionInfo });
}

/** What reflection knows: files by name and by symbol, each with its original bytes. */
export class ReflectionIndex {
  readonly #services: string[];
  readonly #files = new Map<string, { imports: readonly string[]; bytes: Buffer }>();
  readonly #fileOfSymbol = new Map<string, string>();

  constructor(serviceNames: readonly string[], files: readonly DescriptorFile[]) {
    for (const file of files) {
      this.#files.set(file.name, { imports: file.imports, bytes: Buffer.from(file.base64, 'base64') });
      for (const symbol of file.symbols.split(' ')) if (symbol !== '') this.#fileOfSymbol.set(`${file.package}.${symbol}`, file.name);
    }
    this.#services = [...new Set([...serviceNames, ...OWN_SERVICES])].sort();
    const unknown = this.#services.filter((service) => !this.#fileOfSymbol.has(service));
    if (unknown.length > 0) throw new Error(`no descriptor of ${unknown.join(', ')}: run \`npm run proto\``);
  }

  /** One response a request; never throws. */
  answer(request: ServerReflectionRequest): ServerReflectionResponse {
    // Sent back, a request as large as this replica takes could be more than its client takes.
    const asked = request.messageRequest;
    const text = typeof asked?.value === 'string' ? asked.value : (asked?.value?.containingType ?? '');
    if (text.length + request.host.length > MAX_NAME_CHARS) {
      const messageResponse = refused(Status.INVALID_ARGUMENT, `names of more than ${MAX_NAME_CHARS} characters are not looked for`);
      return { validHost: '', originalRequest: undefined, messageResponse };
    }
    return { validHost: request.host, originalRequest: request, messageResponse: this.#answer(asked) };
  }

  #answer(asked: ServerReflectionRequest['messageRequest']): Answer {
    switch (asked?.$case) {
      case 'listServices':
        return { $case: 'listServicesResponse', value: { service: this.#services.map((name) => ({ name })) } };
      case 'fileByFilename':
        return this.#withImports(asked.value) ?? refused(Status.NOT_FOUND, `no file ${asked.value} here`);
      case 'fileContainingSymbol':
        return this.#withImports(this.#fileOfSymbol.get(asked.value)) ?? refused(Status.NOT_FOUND, `no symbol ${asked.value} here`);
      case 'fileContainingExtension':
        return refused(Status.NOT_FOUND, `no extensions of ${asked.value.containingType} here`);
      case 'allExtensionNumbersOfType':
        return refused(Status.NOT_FOUND, `no extensions of ${asked.value} here`);
      case undefined:
        return refused(Status.INVALID_ARGUMENT, 'message_request: set what is asked for');
    }
  }

  /** The file first, then all that it imports, each once. undefined: no such file. */
  #withImports(name: string | undefined): Answer | undefined {
    if (name === undefined || !this.#files.has(name)) return undefined;
    const names = new Set([name]);
    const bytes: Buffer[] = [];
    // A Set that grows while it is iterated goes on to what was added.
    for (const each of names) {
      const file = this.#files.get(each);
      if (file === undefined) continue;
      bytes.push(file.bytes);
      for (const imported of file.imports) names.add(imported);
    }
    return { $case: 'fileDescriptorResponse', value: { fileDescriptorProto: bytes } };
  }
}

function refused(errorCode: Status, errorMessage: string): Answer {
  return { $case: 'errorResponse', value: { errorCode, errorMessage } };
}
