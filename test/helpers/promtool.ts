import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { cached, works } from './programs.js';

/**
 * Where Prometheus' own checker is; undefined: nowhere, and it cannot be had. Debian's package is unpacked and not installed: that would start a
 * Prometheus on this machine.
 */
export function findPromtool(): string | undefined {
  if (works('promtool', ['--version'])) return 'promtool';
  const folder = cached('promtool');
  const unpacked = join(folder, 'usr/bin/promtool');
  if (!existsSync(unpacked) && works('apt-get', ['download', '-q', 'prometheus'], folder)) {
    const [archive] = readdirSync(folder).filter((name) => name.endsWith('.deb'));
    if (archive !== undefined) works('dpkg-deb', ['-x', archive, '.'], folder);
  }
  return works(unpacked, ['--version']) ? unpacked : undefined;
}

/** What it writes on both streams. Throws with that when it fails: `tastes`, its code for a matter of style, is none then. */
export function promtool(
  command: string,
  args: string[],
  { tastes = 0, ...options }: { cwd?: string; input?: string; tastes?: number } = {},
): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { ...options, encoding: 'utf8', timeout: 60_000 });
  const said = `${stdout}${stderr}`;
  if (status !== 0 && status !== tastes) throw new Error(`promtool ${args.join(' ')}: ${error?.message ?? ''}${said}`);
  return said;
}
