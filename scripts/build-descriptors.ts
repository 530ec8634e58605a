/**
 * Builds `src/grpc/generated/descriptors.ts`: what server reflection answers with.
 *
 * Each file's descriptor is cut out of the FileDescriptorSet byte by byte and embedded as it is. It is decoded here for its names only:
 * encoding it again would lose what the encoder does not know. Run after `buf generate`, which empties that folder.
 *
 * `--check` exits 1 when the committed module is not current.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fromBinary } from '@bufbuild/protobuf';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { type DescriptorProto, type EnumDescriptorProto, type FileDescriptorProto, FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';

const ROOT = fileURLToPath(new URL('../', import.meta.url));
const OUT = join(ROOT, 'src/grpc/generated/descriptors.ts');
/** `repeated FileDescriptorProto file = 1` of FileDescriptorSet. */
const FILE_FIELD = 1;

function buildSet(): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'muster-descriptors-'));
  try {
    const out = join(folder, 'descriptor.binpb');
    execFileSync(join(ROOT, 'node_modules/.bin/buf'), ['build', '--as-file-descriptor-set', '-o', out], { cwd: ROOT, stdio: 'inherit' });
    return readFileSync(out);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The bytes of each file in the set, untouched. */
function cut(set: Buffer): Buffer[] {
  const reader = new BinaryReader(set);
  const slices: Buffer[] = [];
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field !== FILE_FIELD || type !== WireType.LengthDelimited) throw new Error(`a FileDescriptorSet has no field ${field} of wire type ${type}`);
    slices.push(Buffer.from(reader.bytes()));
  }
  return slices;
}

/** Everything that a symbol can be asked by, without the package. An enum's values stand beside the enum, as protobuf scopes them. */
function symbolsOf(file: FileDescriptorProto): string[] {
  const ofEnum = (type: EnumDescriptorProto, scope: string) => [scope + type.name, ...type.value.map((value) => scope + value.name)];
  const ofMessage = (type: DescriptorProto, scope: string): string[] => {
    const name = scope + type.name;
    const inside = `${name}.`;
    return [
      name,
      ...type.field.map((field) => inside + field.name),
      ...type.oneofDecl.map((oneof) => inside + oneof.name),
      ...type.nestedType.flatMap((nested) => ofMessage(nested, inside)),
      ...type.enumType.flatMap((nested) => ofEnum(nested, inside)),
    ];
  };
  return [
    ...file.service.flatMap((service) => [service.name, ...service.method.map((method) => `${service.name}.${method.name}`)]),
    ...file.messageType.flatMap((type) => ofMessage(type, '')),
    ...file.enumType.flatMap((type) => ofEnum(type, '')),
  ];
}

function entry(bytes: Buffer): string {
  const file = fromBinary(FileDescriptorProtoSchema, bytes);
  if (file.extension.length > 0) throw new Error(`${file.name} declares extensions: reflection here does not answer for them`);
  return `  {
    name: '${file.name}',
    imports: [${file.dependency.map((name) => `'${name}'`).join(', ')}],
    package: '${file.package}',
    symbols: '${symbolsOf(file).join(' ')}',
    base64: '${bytes.toString('base64')}',
  },`;
}

function build(): string {
  return `// Built from proto/ by scripts/build-descriptors.ts: \`npm run proto\`. Not written by hand.

export interface DescriptorFile {
  readonly name: string;
  readonly imports: readonly string[];
  readonly package: string;
  /** Names below the package, separated by spaces. */
  readonly symbols: string;
  /** The serialized google.protobuf.FileDescriptorProto. */
  readonly base64: string;
}

export const descriptorFiles: readonly DescriptorFile[] = [
${cut(buildSet()).map(entry).join('\n')}
];
`;
}

const built = build();
if (process.argv.includes('--check')) {
  if (!existsSync(OUT) || readFileSync(OUT, 'utf8') !== built) {
    process.stderr.write('src/grpc/generated/descriptors.ts is not current: run `npm run proto` and commit it.\n');
    process.exit(1);
  }
} else {
  writeFileSync(OUT, built);
}
