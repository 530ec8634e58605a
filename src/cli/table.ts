import Table from 'cli-table3';
import picocolors from 'picocolors';

const BARE = Object.fromEntries(
  [
    'top',
    'top-mid',
    'top-left',
    'top-right',
    'bottom',
    'bottom-mid',
    'bottom-left',
    'bottom-right',
    'left',
    'left-mid',
    'mid',
    'mid-mid',
    'right',
    'right-mid',
    'middle',
  ].map((part) => [part, '']),
);

/** What a state looks like at a glance. */
const GOOD = new Set(['succeeded', 'free', 'ready', 'busy', 'running', 'ok']);
const BAD = new Set(['failed', 'dead', 'expired', 'suspect', 'buried', 'error']);
const MIDDLE = new Set(['draining', 'cancelled', 'paused', 'blocked', 'warn']);

/** Columns by width, no borders; states coloured where colours may be. Ends with a line end. */
export function table(head: string[], rows: (string | number)[][], colours: boolean): string {
  const colour = picocolors.createColors(colours);
  const paint = (cell: string) =>
    GOOD.has(cell) ? colour.green(cell) : BAD.has(cell) ? colour.red(cell) : MIDDLE.has(cell) ? colour.yellow(cell) : cell;
  const made = new Table({
    chars: BARE,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
    head: head.map((cell) => colour.dim(cell)),
  });
  for (const row of rows) made.push(row.map((cell) => paint(printable(String(cell)))));
  return `${made
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')}\n`;
}

/** One thing: a line for each of its fields that says something. */
export function sheet(fields: [string, string | number][], colours: boolean): string {
  const colour = picocolors.createColors(colours);
  const said = fields.filter(([, value]) => value !== '');
  const width = Math.max(...said.map(([name]) => name.length)) + 2;
  return said.map(([name, value]) => `${colour.dim(name.padEnd(width))}${printable(String(value))}\n`).join('');
}

/** Text of workers and clients must not steer the terminal. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ');
}

/** `3s`, `12m`, `5h`, `2d`; '' for no time. */
export function age(time: Date | undefined, now: number): string {
  if (time === undefined) return '';
  return span(Math.max(0, now - time.getTime()));
}

/** A stretch of time, roughly. */
export function span(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)}ms`;
  if (ms < 100_000) return `${Math.round(ms / 100) / 10}s`;
  if (ms < 6_000_000) return `${Math.round(ms / 60_000)}m`;
  return ms < 172_800_000 ? `${Math.round(ms / 3_600_000)}h` : `${Math.round(ms / 86_400_000)}d`;
}
