import type { Answer } from '../domain/answer.js';
import type { Clock } from '../domain/clock.js';
import { Code } from '../domain/job.js';
import type { Line } from './line.js';
import type { WireCall } from './wire.js';

/** How a connection that was given up is asked whether it lives. */
export interface Asking {
  everyMs: number;
  /** An answer that takes longer is none. */
  timeoutMs: number;
}

export interface RetiredOptions extends Asking {
  clock: Clock;
  /** Asks the worker a question without consequences, on that line. It counts as a call of the line's. */
  ask(line: Line, timeoutMs: number): WireCall;
  /** The same where the worker is spoken to now. */
  askElsewhere(timeoutMs: number): WireCall;
}

/**
 * The connections of one worker that were given up for new calls while calls were open on them.
 *
 * To close one in grpc-js is to tell the worker that we go, and servers that ping as grpc-js does end what they run for us then; nor could it
 * be asked any more. So it is closed when its last call has ended, which is no later than the call's deadline, and asked until then: TCP
 * finds a dead host, but no proxy that has lost the worker and keeps our side open, and no path that swallows what we sent. Any answer is
 * life. No answer is not yet death: the worker may compute on its only thread. So it is asked again, there and where it is spoken to now,
 * both at once. Does it answer only the latter, the connection is dead: it is broken, and so are its calls. Does it answer neither, the
 * prober is about to judge it.
 *
 * A connection on which the worker has said that it goes (GOAWAY) takes no question. It has TCP's keepalive, which finds a dead host there,
 * since nothing more is sent; and the worker has the prober, which ends the whole link when it is dead.
 */
export class Retired {
  readonly #options: RetiredOptions;
  readonly #lines = new Map<Line, AbortController>();

  constructor(options: RetiredOptions) {
    this.#options = options;
  }

  /** From here on the line is ours to close. */
  add(line: Line): void {
    if (line.open === 0 || !line.ready) return line.close();
    const over = new AbortController();
    this.#lines.set(line, over);
    line.onIdle = () => this.#end(line);
    void this.#watch(line, over.signal);
  }

  /** Open calls are for their owner to cancel. */
  close(): void {
    for (const line of this.#lines.keys()) this.#end(line);
  }

  async #watch(line: Line, over: AbortSignal): Promise<void> {
    const { clock, everyMs, timeoutMs, ask, askElsewhere } = this.#options;
    while (!over.aborted) {
      await clock.sleep(everyMs, over);
      if (over.aborted) return;
      if (!line.ready) return this.#end(line);
      if (!isMute(await answerOf(ask(line, timeoutMs), over)) || !line.ready) continue;
      const [here, there] = await Promise.all([answerOf(ask(line, timeoutMs), over), answerOf(askElsewhere(timeoutMs), over)]);
      if (isMute(here) && there.spoke && !over.aborted) line.cut();
    }
  }

  #end(line: Line): void {
    this.#lines.get(line)?.abort();
    this.#lines.delete(line);
    line.onIdle = undefined;
    line.close();
  }
}

/** Cancelled when all is over. */
function answerOf(call: WireCall, over: AbortSignal): Promise<Answer> {
  over.addEventListener('abort', call.cancel, { once: true });
  return call.answer.finally(() => over.removeEventListener('abort', call.cancel));
}

/** Sent on a connection that is thought to live, and nothing came. */
function isMute({ code, reach, spoke }: Answer): boolean {
  return !spoke && reach === 'sent' && code === Code.DEADLINE_EXCEEDED;
}
