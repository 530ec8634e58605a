import type { Command } from 'commander';
import { type Config, ConfigError, fields, readConfig } from '../../config.js';
import { example, type OutputOptions, outputOption, printJson } from '../common.js';
import { usage } from '../exit.js';
import type { Io } from '../io.js';
import { table } from '../table.js';

export interface Setting {
  field: keyof Config;
  /** The environment's name. */
  name: string;
  /** The flag of `serve`. */
  flag: string;
  about: string;
  default: unknown;
}

/** Every setting of a replica, in the order of the schema. */
export function settings(): Setting[] {
  return Object.entries(fields).map(([field, schema]) => ({
    field: field as keyof Config,
    name: `MUSTER_${field}`,
    flag: `--${field.toLowerCase().replaceAll('_', '-')}`,
    about: schema.description ?? '',
    default: schema.parse(undefined),
  }));
}

/** Reads the configuration; what is wrong with it is a usage error. */
export function readSettings(io: Io, flags: Partial<Record<keyof Config, unknown>> = {}): Config {
  try {
    return readConfig(io.env, flags);
  } catch (error) {
    throw error instanceof ConfigError ? usage(error.message) : error;
  }
}

export function addConfig(program: Command, io: Io): void {
  const config = outputOption(
    program.command('config').description('Print every setting of a replica: its default, its present value, what it is for'),
  );
  example(config, 'muster config', 'MUSTER_LEASE_MS=60000 muster config -o json');
  config.action(async (options: OutputOptions) => {
    const present = readSettings(io);
    const rows = settings().map(({ field, name, flag, about, default: fallback }) => ({
      name,
      flag,
      default: fallback,
      value: masked(present[field]),
      about,
    }));
    if (options.output === 'json') return printJson(io, { settings: rows });
    await io.out(
      table(
        ['NAME', 'DEFAULT', 'VALUE', 'ABOUT'],
        rows.map((row) => [row.name, shown(row.default), shown(row.value), row.about]),
        io.colours,
      ),
    );
  });
}

function shown(value: unknown): string {
  return Array.isArray(value) ? value.join(',') : String(value);
}

/** Passwords within URLs are for Redis, not for terminals and logs. */
function masked(value: unknown): unknown {
  return typeof value === 'string' ? value.replace(/(\/\/[^/@]*:)[^@]*@/, '$1***@') : value;
}
