import { type Command, Option } from 'commander';
import { ROLES, type Role } from '../../domain/identity.js';
import { newSecret, tokenLine } from '../../domain/tokens.js';
import { example, type OutputOptions, outputOption, printJson } from '../common.js';
import { usage } from '../exit.js';
import type { Io } from '../io.js';
import { parseWord } from '../parse.js';

interface CreateOptions extends OutputOptions {
  role: Role;
  name: string;
  pools?: string;
}

export function addToken(program: Command, io: Io): void {
  const token = program.command('token').description('Make credentials for workers, clients and operators');
  const create = outputOption(token.command('create').description('Make a token: its secret, and the line under which replicas know it'))
    .addOption(new Option('--role <role>', 'what it may do').argParser(parseWord('--role', ROLES)).makeOptionMandatory())
    .requiredOption('--name <name>', 'what it is called in events and logs')
    .option('--pools <pools>', 'the only pools that it may name, with commas between them (default: all)');
  example(create, 'muster token create --role worker --name ci --pools builds', 'muster token create --role admin --name alice -o json');
  create.action(async ({ role, name, pools, output }: CreateOptions) => {
    const secret = newSecret();
    const line = lineOf({ role, name, pools: pools?.split(',').map((pool) => pool.trim()) }, secret);
    if (output === 'json') return printJson(io, { secret, line });
    io.tell('The first line is the secret. It is shown this once and kept nowhere: give it to whoever is to call.');
    io.tell('The second is for the file that MUSTER_TOKENS_FILE names; replicas read it again when it changes.');
    await io.out(`${secret}\n${line}\n`);
  });
}

function lineOf(options: Parameters<typeof tokenLine>[0], secret: string): string {
  try {
    return tokenLine(options, secret);
  } catch (error) {
    throw usage(error instanceof Error ? error.message : String(error));
  }
}
