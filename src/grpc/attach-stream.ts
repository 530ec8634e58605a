import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { Clock } from '../domain/clock.js';
import type { MusterError } from '../domain/errors.js';
import { Heartbeat } from '../domain/heartbeat.js';
import type { Assignment, Verdict } from '../domain/job.js';
import { type AttachedStream, bytesOf } from '../links/attached.js';
import type { LeaseName } from '../store/scripts/workers.js';
import type { Held, Assignment as ProtoAssignment } from './generated/muster/v1/common.js';
import type { AttachRequest, AttachResponse, Settlement, Welcome } from './generated/muster/v1/worker.js';
import { Intake, type RequestStream } from './intake.js';
import { ALONE, Outbox } from './outbox.js';
import type { Pacer } from './pacer.js';
import { toStatus } from './status.js';
import { toDuration } from './time.js';
import { VERDICTS } from './worker-service.js';

export type AttachCall = ServerDuplexStream<AttachRequest, AttachResponse>;

interface Frames {
  welcome: Welcome;
  assign: ProtoAssignment;
  cancel: Held;
  revoke: Held;
  settled: Settlement;
  ping: string;
  heartbeat: Record<string, never>;
  reattach: { reason: string; withinMs: number };
}

const NO_BYTES = Buffer.alloc(0);

function held({ jobId, fence }: LeaseName): Held {
  return { jobId, fence, done: false, progress: NO_BYTES };
}

function frameOf<Kind extends keyof Frames & string>(kind: Kind, items: Frames[Kind][]): AttachResponse {
  return { frame: contentOf(kind, items) };
}

function contentOf(kind: keyof Frames & string, items: unknown[]): AttachResponse['frame'] {
  switch (kind) {
    case 'welcome':
      return { $case: kind, value: items[0] as Welcome };
    case 'assign':
      return { $case: kind, value: { assignments: items as ProtoAssignment[] } };
    case 'cancel':
    case 'revoke':
      return { $case: kind, value: { held: items as Held[] } };
    case 'settled':
      return { $case: kind, value: { settlements: items as Settlement[] } };
    case 'ping':
      return { $case: kind, value: { nonce: items[0] as string } };
    case 'heartbeat':
      return { $case: kind, value: {} };
    case 'reattach': {
      const { reason, withinMs } = items[0] as Frames['reattach'];
      return { $case: kind, value: { reason, within: toDuration(withinMs) } };
    }
  }
}

/** The downward half of an Attach stream. */
export class GrpcAttachedStream implements AttachedStream {
  readonly #call: AttachCall;
  readonly #outbox: Outbox<AttachResponse, Frames>;
  #heartbeat: Heartbeat | undefined;
  #ended = false;

  readonly #intake: Intake<Buffer>;

  /** `take`: does what one message of the worker says, and never throws. */
  constructor(call: AttachCall, pacer: Pacer, take: (message: Buffer) => void) {
    this.#call = call;
    this.#outbox = new Outbox<AttachResponse, Frames>(call, frameOf, () => this.#intake.wake(), pacer.backlog);
    // Its messages come undecoded (see Pacer).
    this.#intake = new Intake(call as unknown as RequestStream<Buffer>, pacer.enter(call), { take, full: () => this.#outbox.full });
  }

  get overfull(): boolean {
    return this.#outbox.overfull;
  }

  /** Something that the worker asked for costs Redis a call. */
  during<T>(asking: Promise<T>): Promise<T> {
    return this.#intake.during(asking);
  }

  resultTaken(bytes: number): void {
    this.#intake.hold('items');
    this.#intake.hold('bytes', bytes);
  }

  resultSettled(bytes: number): void {
    this.#intake.release('items');
    this.#intake.release('bytes', bytes);
  }

  /** Sends heartbeats from now on. The silence of the worker is not watched here: the sweep asks it, and its answer says what it holds. */
  startHeartbeat(clock: Clock, intervalMs: number): void {
    if (this.#ended) return;
    const send = () => {
      // A frame that waits says as much.
      if (this.#outbox.idle) this.#outbox.push('heartbeat', {});
    };
    this.#heartbeat ??= new Heartbeat({ clock, intervalMs, send });
  }

  welcome(welcome: Omit<Welcome, 'abandon'>, abandon: LeaseName[]): void {
    this.#outbox.push('welcome', { ...welcome, abandon: abandon.map(held) }, ALONE);
  }

  assign(assignment: Assignment): void {
    const { jobId, fence, kind, method, payload, metadata, attempt, runTimeoutMs, progress } = assignment;
    this.#outbox.push(
      'assign',
      { jobId, fence, kind, method, payload, metadata, attempt, runTimeout: toDuration(runTimeoutMs), progress },
      bytesOf(assignment),
    );
  }

  cancel(jobId: string, fence: string): void {
    this.#outbox.push('cancel', held({ jobId, fence }));
  }

  revoke(jobId: string, fence: string): void {
    this.#outbox.push('revoke', held({ jobId, fence }));
  }

  settled(jobId: string, fence: string, verdict: Verdict): void {
    this.#outbox.push('settled', { jobId, fence, verdict: VERDICTS[verdict] });
  }

  ping(nonce: number): void {
    this.#outbox.push('ping', String(nonce), ALONE);
  }

  reattach(reason: string, withinMs: number): void {
    this.#outbox.push('reattach', { reason, withinMs }, ALONE);
  }

  end(error?: MusterError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#intake.stop();
    this.#heartbeat?.stop();
    this.#outbox.close();
    if (error) this.#call.emit('error', toStatus(error));
    else this.#call.end();
  }
}
