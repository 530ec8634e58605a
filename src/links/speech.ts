import type { Metadata } from '@grpc/grpc-js';
import { type Assignment, Code } from '../domain/job.js';
import { type ProbeAnswer, ProbeFailed } from '../domain/link.js';
import type { Contract } from '../domain/worker.js';
import type { Answer } from './wire.js';

/** One unary request of a contract. */
export interface Order {
  path: string;
  bytes: Buffer;
  metadata?: Metadata;
}

/** What distinguishes one dialed contract from another. All else is the link's. */
export interface Speech {
  readonly contract: Exclude<Contract, 'ATTACHED'>;
  /** The call of one attempt; a string says why this worker can never be given it. */
  order(assignment: Assignment): Order | string;
  /** Its own way to end an attempt. Without one the call is cancelled. */
  abort?(jobId: string, fence: string): Order;
  readonly probe: Order;
  /** Reads a status OK; throws on bytes that are not its message. */
  readProbe(bytes: Buffer): ProbeAnswer;
  /** Any status of the worker's own is a good answer (METHOD): it need not serve the health protocol. */
  readonly anyAnswerLives: boolean;
}

/** What the answer of a probe's call means. Throws ProbeFailed. */
export function readProbeAnswer(speech: Speech, answer: Answer): ProbeAnswer {
  const { code, details, reach, spoke } = answer;
  if (reach !== 'sent') throw new ProbeFailed(reach, details);
  if (code === Code.OK) return decoded(speech, answer.bytes ?? Buffer.alloc(0));
  if (spoke) {
    if (speech.anyAnswerLives) return { workerId: '', boot: '', busy: false, held: undefined, tellsIdle: false };
    throw new ProbeFailed('answered_badly', `${speech.probe.path} was answered with status ${code}: ${details}`);
  }
  if (code === Code.DEADLINE_EXCEEDED || code === Code.CANCELLED) throw new ProbeFailed('silent', details);
  throw new ProbeFailed(code === Code.UNAVAILABLE ? 'refused' : 'answered_badly', details);
}

function decoded(speech: Speech, bytes: Buffer): ProbeAnswer {
  try {
    return speech.readProbe(bytes);
  } catch (thrown) {
    throw new ProbeFailed('answered_badly', `the answer of ${speech.probe.path} cannot be decoded: ${String(thrown)}`);
  }
}
