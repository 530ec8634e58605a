import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { type DescriptorProto, FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { descriptorFiles } from '../../src/grpc/generated/descriptors.js';

/** A serialized FileDescriptorSet of the project's own files of these names, in that order; nothing is added to them. */
export function setOf(...names: string[]): Buffer {
  return joined(
    names.map((name) => {
      const file = descriptorFiles.find((other) => other.name === name);
      if (file === undefined) throw new Error(`no descriptor of ${name}`);
      return Buffer.from(file.base64, 'base64');
    }),
  );
}

/** The same set as a Python, C++, or Java server serves it by reflection: no field has a `json_name`. */
export function setWithoutJsonNames(...names: string[]): Buffer {
  const strip = ({ field, extension, nestedType }: DescriptorProto): void => {
    for (const each of [...field, ...extension]) each.jsonName = '';
    nestedType.forEach(strip);
  };
  return joined(
    names.map((name) => {
      const base64 = descriptorFiles.find((other) => other.name === name)?.base64 ?? '';
      const file = fromBinary(FileDescriptorProtoSchema, Buffer.from(base64, 'base64'));
      file.messageType.forEach(strip);
      return toBinary(FileDescriptorProtoSchema, file);
    }),
  );
}

/** A serialized FileDescriptorSet of files that hold nothing but a name and imports. */
export function emptyFiles(files: Record<string, string[]>): Buffer {
  return joined(
    Object.entries(files).map(([name, dependency]) => toBinary(FileDescriptorProtoSchema, create(FileDescriptorProtoSchema, { name, dependency }))),
  );
}

function joined(files: Uint8Array[]): Buffer {
  const writer = new BinaryWriter();
  for (const bytes of files) writer.tag(1, WireType.LengthDelimited).bytes(bytes);
  return Buffer.from(writer.finish());
}
