import type { Io } from '../../../src/cli/io.js';
import { runProgram } from '../../../src/cli/program.js';
import { type Answers, startReplica } from '../sdk/replica.js';

export interface Ran {
  code: number;
  /** All of stdout. */
  out: Buffer;
  text: string;
  /** The lines of stderr. */
  story: string;
  json(): unknown;
}

export interface Typed {
  stdin?: string;
  env?: Record<string, string>;
  /** Called with what interrupts the program, as SIGINT would. */
  onStart?: (interrupt: () => void) => void;
}

/** Wall time in these tests. */
export const NOW = Date.UTC(2026, 10, 5, 12, 0, 0);

/** What the program touches of its process, kept in these lists. */
export function ioOf(typed: Typed = {}, out: Buffer[] = [], lines: string[] = []): Io {
  return {
    out: async (chunk) => void out.push(Buffer.from(chunk)),
    tell: (line) => lines.push(line),
    stdin: (async function* () {
      yield Buffer.from(typed.stdin ?? '');
    })(),
    env: typed.env ?? {},
    colours: false,
    now: () => NOW,
    onInterrupt: (listener) => {
      typed.onStart?.(listener);
      return () => {};
    },
  };
}

/** Runs the program within this process, with its own stdin, stdout, stderr and environment. */
export async function muster(argv: string[], typed: Typed = {}): Promise<Ran> {
  const out: Buffer[] = [];
  const lines: string[] = [];
  const io = ioOf(typed, out, lines);
  const code = await runProgram(io, argv);
  const all = Buffer.concat(out);
  return { code, out: all, text: all.toString(), story: lines.join('\n'), json: () => JSON.parse(all.toString()) };
}

/** Runs the program against a replica that gives these answers. */
export async function against(answers: Answers, argv: string[], typed: Typed = {}): Promise<Ran> {
  const replica = await startReplica(answers);
  try {
    return await muster(argv, { ...typed, env: { MUSTER_TARGET: replica.target, ...typed.env } });
  } finally {
    replica.kill();
  }
}
