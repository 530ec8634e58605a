import { readFileSync, writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { settings } from '../src/cli/commands/config.js';
import type { Io } from '../src/cli/io.js';
import { buildProgram } from '../src/cli/program.js';

/**
 * The reference pages that say nothing but what the program knows of itself. `npx tsx scripts/build-docs.ts` writes them, `--check` only says
 * (by its exit code) whether they are what it would write.
 */
const PAGES: Record<string, () => string> = { 'docs/configuration.md': configuration, 'docs/cli.md': commandLine };

function configuration(): string {
  const rows = settings().map(({ name, flag, about, default: value }) => `| \`${name}\` | \`${flag}\` | ${shown(value)} | ${cell(about)} |`);
  return `# Configuration

Every setting of a replica, as \`muster config\` prints it. Each is an environment variable and a flag of \`muster serve\`; the flag wins. Times that end in
\`_MS\` are milliseconds, sizes that end in \`_BYTES\` are bytes. Unknown names that begin with \`MUSTER_\` are refused, and so are times that do not agree
with each other, with both names in the message.

| variable | flag | default | what it is for |
| --- | --- | --- | --- |
${rows.join('\n')}
`;
}

function commandLine(): string {
  const io = { env: {}, colours: false, out: async () => undefined, tell: () => undefined } as unknown as Io;
  const program = buildProgram(io).configureHelp({ helpWidth: 100 });
  return `# The command line

What \`muster --help\` and \`muster COMMAND --help\` say. From a clone: \`node dist/main.js COMMAND\`.

${[program, ...program.commands.flatMap((command) => [command, ...command.commands])].map(section).join('\n')}`;
}

function section(command: Command): string {
  const names: string[] = [];
  for (let at: Command | null = command; at !== null; at = at.parent) names.unshift(at.name());
  let text = '';
  command.configureOutput({
    writeOut: (part) => {
      text += part;
    },
  });
  command.configureHelp({ helpWidth: 100 });
  command.outputHelp();
  // The flags of `serve` are the settings, which have a page of their own.
  if (names.at(-1) === 'serve') text = `${text.slice(0, text.indexOf('Options:'))}Options: every setting, see configuration.md\n`;
  return `## ${names.join(' ')}\n\n\`\`\`\n${text.trim()}\n\`\`\`\n`;
}

function shown(value: unknown): string {
  const text = Array.isArray(value) ? value.join(',') : String(value);
  return text === '' ? '' : `\`${text}\``;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

let stale = false;
for (const [path, make] of Object.entries(PAGES)) {
  const at = new URL(`../${path}`, import.meta.url);
  const text = make();
  if (!process.argv.includes('--check')) writeFileSync(at, text);
  else if (read(at) !== text) {
    stale = true;
    console.error(`${path} is not what the program says of itself: npx tsx scripts/build-docs.ts`);
  }
}
process.exitCode = stale ? 1 : 0;

function read(at: URL): string | undefined {
  try {
    return readFileSync(at, 'utf8');
  } catch {
    return undefined;
  }
}
