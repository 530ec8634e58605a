import { type Command, Option } from 'commander';
import { type Config, ConfigError, fields } from '../../config.js';
import { example } from '../common.js';
import { Ended, usage } from '../exit.js';
import type { Io } from '../io.js';
import { readSettings, type Setting, settings } from './config.js';

export function addServe(program: Command, io: Io): void {
  const serve = program.command('serve').description('Run one replica until it is told to stop');
  const names = new Map<string, keyof Config>();
  for (const setting of settings()) {
    const option = new Option(`${setting.flag} ${valueWord(setting)}`, `${setting.about} (env: ${setting.name}, default: ${defaultOf(setting)})`);
    names.set(option.attributeName(), setting.field);
    serve.addOption(option);
  }
  example(serve, 'muster serve --redis-url redis://127.0.0.1:6379 --grpc-addr 127.0.0.1:50051 --insecure');
  serve.action(async (options: Record<string, unknown>) => {
    const flags: Partial<Record<keyof Config, unknown>> = {};
    for (const [attribute, value] of Object.entries(options)) {
      const field = names.get(attribute);
      if (field !== undefined) flags[field] = value;
    }
    const config = readSettings(io, flags);
    const { runService } = await import('../../lifecycle/service.js');
    const code = await runService(config).catch((error: unknown) => {
      throw error instanceof ConfigError ? usage(error.message) : error;
    });
    if (code !== 0) throw new Ended(code);
  });
}

function valueWord({ field }: Setting): string {
  return fields[field].parse(undefined) === false ? '[true|false]' : '<value>';
}

function defaultOf({ default: value }: Setting): string {
  const text = String(value);
  return text === '' ? 'empty' : text;
}
