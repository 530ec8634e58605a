import picocolors from 'picocolors';
import type { Tally } from './load.js';

/** What the person sees meanwhile, on stderr: one line with a bar at a terminal, otherwise a line every two seconds. */
const DRAW_MS = 100;
const LINE_MS = 2_000;
const BAR = 24;
/** The rate is of so long back. */
const RATE_MS = 5_000;
const CLEAR = '\r\u001b[K';

export class Progress {
  readonly #stream = process.stderr;
  readonly #live = process.stderr.isTTY === true && process.env['TERM'] !== 'dumb';
  readonly #colour = picocolors.createColors(this.#live && process.env['NO_COLOR'] === undefined);
  readonly #looks: { at: number; ended: number }[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** A line that stays. */
  tell = (line: string): void => {
    this.#stream.write(`${this.#live ? CLEAR : ''}${this.#colour.dim('muster:')} ${line}\n`);
  };

  /** From now on shows how far it is; `wanted` files are the whole. */
  start(tally: Tally, wanted: number): void {
    const show = this.#live
      ? () => this.#stream.write(CLEAR + this.#line(tally, wanted).slice(0, Math.max(20, (this.#stream.columns || 80) - 1)))
      : () => this.tell(this.#line(tally, wanted));
    this.#looks.push({ at: performance.now(), ended: tally.ended });
    this.#timer = setInterval(show, this.#live ? DRAW_MS : LINE_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    if (this.#live && this.#timer !== undefined) this.#stream.write(CLEAR);
    this.#timer = undefined;
  }

  #line({ hashed, ended, succeeded }: Tally, wanted: number): string {
    const full = Math.round(Math.min(1, hashed / wanted) * BAR);
    const more = hashed > wanted ? ', and on until all has healed' : '';
    const wrong = ended > succeeded ? `, ${ended - succeeded} jobs without success` : '';
    return `[${'#'.repeat(full)}${'.'.repeat(BAR - full)}] ${hashed}/${wanted} files, ${this.#rate(ended)} jobs a second${wrong}${more}`;
  }

  #rate(ended: number): number {
    const now = performance.now();
    this.#looks.push({ at: now, ended });
    while (this.#looks.length > 2 && now - (this.#looks[0]?.at ?? now) > RATE_MS) this.#looks.shift();
    const [first = { at: now, ended }] = this.#looks;
    return now === first.at ? 0 : Math.round(((ended - first.ended) * 1000) / (now - first.at));
  }
}
