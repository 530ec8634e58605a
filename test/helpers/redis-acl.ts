import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';
import { ROOT } from './source.js';

/** The user that docs/redis.md describes. */
export const USER = 'muster';
export const SECRET = 'SECRET';

/** The `ACL SETUSER` commands of docs/redis.md, as arguments of ACL: what one Redis needs, and what each node of a Cluster needs besides. */
export function documentedAcl(): { single: string[]; cluster: string[] } {
  const page = readFileSync(new URL('docs/redis.md', ROOT), 'utf8');
  const commands = [...page.matchAll(/^redis-cli ACL (SETUSER muster (?:.*\\\n)*.*)$/gm)].map(([, command = '']) =>
    command
      .replaceAll('\\\n', ' ')
      .split(/\s+/)
      .map((word) => word.replace(/^'(.*)'$/, '$1')),
  );
  const [single, cluster] = commands;
  if (!single || !cluster || commands.length !== 2) throw new Error(`docs/redis.md has ${commands.length} ACL SETUSER commands, and not 2`);
  return { single, cluster };
}

/** What Redis has refused since the last time, to whomever: `who what reason`. */
export async function refusals(redis: Redis): Promise<string[]> {
  const entries = (await redis.call('ACL', 'LOG')) as unknown[][];
  await redis.call('ACL', 'LOG', 'RESET');
  return entries.map((flat) => {
    const field = (name: string) => String(flat[flat.indexOf(name) + 1]);
    return `${field('username')} ${field('object')} ${field('reason')}`;
  });
}
