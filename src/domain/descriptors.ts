import { create, createFileRegistry, type DescMethod, type FileRegistry, fromBinary } from '@bufbuild/protobuf';
import { type DescriptorProto, type FileDescriptorProto, type FileDescriptorSet, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { invalid, MusterError, toError } from './errors.js';

/** What a pool's messages look like is a note of people's size; it is read whole, and parsed on the event loop. */
export const MAX_DESCRIPTORS_BYTES = 1024 * 1024;

/**
 * Reads a serialized google.protobuf.FileDescriptorSet, its files in any order. Throws `invalid` naming the field for one that is too
 * large, cannot be parsed, lacks a file that it imports, or does not hold together.
 */
export function readDescriptors(set: Uint8Array, field: string): FileRegistry {
  if (set.length === 0) throw invalid(field, 'must be set: a serialized google.protobuf.FileDescriptorSet');
  if (set.length > MAX_DESCRIPTORS_BYTES) {
    throw invalid(field, `has ${set.length} bytes, of at most ${MAX_DESCRIPTORS_BYTES}: leave out source info, and services that are not called`);
  }
  const files = parse(set, field);
  if (files.length === 0) throw invalid(field, 'holds no file: it is no FileDescriptorSet');
  try {
    return createFileRegistry(importsFirst(files, field));
  } catch (thrown) {
    if (thrown instanceof MusterError) throw thrown;
    throw invalid(field, `does not hold together: ${toError(thrown).message}`);
  }
}

/** The unary methods of all its services, by path (`/pkg.Svc/Method`), in the order of their names. */
export function unaryMethods(registry: FileRegistry): Map<string, DescMethod> {
  const methods: [string, DescMethod][] = [];
  for (const type of registry) {
    if (type.kind !== 'service') continue;
    for (const method of type.methods) if (method.methodKind === 'unary') methods.push([`/${type.typeName}/${method.name}`, method]);
  }
  return new Map(methods.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function parse(set: Uint8Array, field: string): FileDescriptorProto[] {
  try {
    const { file } = fromBinary(FileDescriptorSetSchema, set);
    for (const { messageType, extension } of file) {
      nameInJson(extension);
      for (const message of messageType) nameFieldsInJson(message);
    }
    return file;
  } catch (thrown) {
    throw invalid(field, `cannot be parsed as a google.protobuf.FileDescriptorSet: ${toError(thrown).message}`);
  }
}

function nameFieldsInJson({ field, extension, nestedType }: DescriptorProto): void {
  nameInJson(field);
  nameInJson(extension);
  for (const nested of nestedType) nameFieldsInJson(nested);
}

/**
 * Fills in the `json_name` that is missing. Only compilers write it: descriptors that a Python, C++, or Java server keeps in its code,
 * and serves by reflection, come without it. The registry takes the field as it stands, so every field would be named "".
 */
function nameInJson(fields: DescriptorProto['field']): void {
  for (const field of fields) if (field.jsonName === '') field.jsonName = jsonNameOf(field.name);
}

/** The name that protoc gives: underscores go, and the letter after each is upper case. */
function jsonNameOf(name: string): string {
  return name.replace(/_+(.?)/g, (_, next: string) => next.toUpperCase());
}

/** The same files, each once, and after all that it imports: reflection gives them in any order, the registry needs this one. */
function importsFirst(files: FileDescriptorProto[], field: string): FileDescriptorSet {
  const byName = new Map(files.map((file) => [file.name, file]));
  const ordered = new Set<FileDescriptorProto>();
  const under = new Set<string>();
  const visit = (file: FileDescriptorProto): void => {
    if (ordered.has(file)) return;
    if (under.has(file.name)) throw invalid(field, `${JSON.stringify(file.name)} imports itself, by way of others`);
    under.add(file.name);
    for (const name of file.dependency) {
      const imported = byName.get(name);
      if (imported === undefined) {
        throw invalid(
          field,
          `lacks ${JSON.stringify(name)}, which ${JSON.stringify(file.name)} imports: build it with its imports (buf does; protoc --include_imports)`,
        );
      }
      visit(imported);
    }
    ordered.add(file);
  };
  for (const file of byName.values()) visit(file);
  return create(FileDescriptorSetSchema, { file: [...ordered] });
}
