import type { Clock } from './clock.js';

/** The capability of a client or worker that sends heartbeats, and understands them. */
export const HEARTBEAT = 'heartbeat';

/** A peer that sends nothing for so many intervals hangs, or the way to it does. A stream to another replica is opened then. */
export const SILENT_INTERVALS = 2;

export interface HeartbeatOptions {
  clock: Clock;
  /** A heartbeat is sent this often, and expected this often from the peer. */
  intervalMs: number;
  send(): void;
  /** After so many intervals without a frame; default SILENT_INTERVALS. */
  silentIntervals?: number;
  /** Called when the peer was silent for so long, and again after each further silence of that length. undefined: silence is not watched. */
  onSilent?: () => void;
}

const TICKS_AN_INTERVAL = 2;

/**
 * Keeps one stream alive in both directions: sends heartbeats, and notices when the peer sends nothing.
 *
 * HTTP/2 pings do not do this. They end at the next proxy, and the kernel or the HTTP/2 library answers for a process that hangs.
 *
 * Silence is counted in ticks of our own timer, not in wall time. When our own process hangs (a blocked event loop, SIGSTOP), the frames of the
 * peer wait in the socket. One late tick then counts as one, and they are read before the next.
 */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  #ticks = 0;
  #silentTicks = 0;
  #cancel: () => void;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#cancel = this.#arm();
  }

  /** The peer sent a frame, whichever. */
  received(): void {
    this.#silentTicks = 0;
  }

  /** Idempotent. */
  stop(): void {
    this.#cancel();
  }

  #arm(): () => void {
    return this.#options.clock.after(this.#options.intervalMs / TICKS_AN_INTERVAL, () => this.#tick());
  }

  #tick(): void {
    const { send, onSilent, silentIntervals = SILENT_INTERVALS } = this.#options;
    this.#cancel = this.#arm();
    this.#ticks++;
    this.#silentTicks++;
    if (this.#ticks % TICKS_AN_INTERVAL === 0) send();
    if (this.#silentTicks < silentIntervals * TICKS_AN_INTERVAL) return;
    this.#silentTicks = 0;
    onSilent?.();
  }
}
