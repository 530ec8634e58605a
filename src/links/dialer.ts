import { type Clock, systemClock } from '../domain/clock.js';
import type { Dialer, DialTarget, Link, LinkEvents, ProbeAnswer } from '../domain/link.js';
import type { Address } from '../domain/worker.js';
import { DialedLink } from './dialed.js';
import { legacy } from './legacy.js';
import { method } from './method.js';
import type { Asking } from './retired.js';
import { runner } from './runner.js';
import type { DialSecurity } from './security.js';
import type { Speech } from './speech.js';
import { Wire } from './wire.js';

export interface DialerOptions {
  clock: Clock;
  maxResultBytes: number;
  maxPayloadBytes: number;
  /** For Abort, and for how long an aborted call may stay open. */
  pingTimeoutMs: number;
  /** A connection that is not usable by then is given up; CONNECT_TIMEOUT_MS unless said. */
  connectTimeoutMs?: number;
  /** Of connections that were given up while calls are open on them; the wire's own unless said. */
  asking?: Asking;
  /** Asked again at each dial, and before each connection; throws MusterError. See `DialPolicy.recheck`. */
  policy?: { recheck(address: Address): void };
  /** JOB_CREDENTIALS. */
  credentials?: boolean;
  /** Who is dialed by TLS; without it nobody is. */
  security?: DialSecurity;
}

export const CONNECT_TIMEOUT_MS = 2_000;
/** What a message holds beside the payload or result: ids, 8 KiB of metadata, 4 KiB of progress or failure details, framing. */
const ENVELOPE_BYTES = 65_536;
/** An answer to Probe that names 4,096 attempts: whatever results may have, a worker must not be dead for the length of its answer. */
const PROBE_BYTES = 1_048_576;

/** Makes links to workers by gRPC. A link connects when it is first used. */
export class GrpcDialer implements Dialer {
  readonly #speeches: Record<DialTarget['contract'], Speech>;

  constructor(private readonly options: DialerOptions) {
    this.#speeches = { RUNNER: runner, LEGACY: legacy, METHOD: method(options.credentials ?? false) };
  }

  /** Throws what the policy and the security throw, else nothing. */
  dial(target: DialTarget, events: LinkEvents): Link {
    const { clock, maxResultBytes, maxPayloadBytes, pingTimeoutMs, connectTimeoutMs, asking, policy, security } = this.options;
    const permit = () => policy?.recheck(target.address);
    permit();
    const wire = new Wire(target.address, {
      clock,
      maxReceiveBytes: Math.max(maxResultBytes + ENVELOPE_BYTES, PROBE_BYTES),
      maxSendBytes: maxPayloadBytes + ENVELOPE_BYTES,
      connectTimeoutMs: connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
      tls: security?.of(target),
      permit,
      asking,
    });
    return new DialedLink(target, this.#speeches[target.contract], wire, events, { clock, maxResultBytes, pingTimeoutMs });
  }
}

const NO_EVENTS: LinkEvents = { delivered: () => undefined, heard: () => undefined, closed: () => undefined };

/**
 * Dials, probes and closes: the test of a worker over a connection that nobody used before. Rejects with ProbeFailed.
 * Without a dialer of the caller's own no policy is asked.
 */
export async function probeOnce(target: DialTarget, timeoutMs: number, dialer: Dialer = probeDialer(timeoutMs)): Promise<ProbeAnswer> {
  const link = dialer.dial(target, NO_EVENTS);
  try {
    return await link.probe(timeoutMs);
  } finally {
    link.close();
  }
}

function probeDialer(timeoutMs: number): Dialer {
  return new GrpcDialer({ clock: systemClock, maxResultBytes: 0, maxPayloadBytes: 0, pingTimeoutMs: timeoutMs, connectTimeoutMs: timeoutMs });
}
