import { type Answer, failure, readCall } from '../../domain/answer.js';
import { Code, type Outcome } from '../../domain/job.js';

export interface MethodReading {
  answer: Answer;
  method: string;
  /** We cancelled the call. */
  aborted: boolean;
  maxResultBytes: number;
}

/**
 * What the upstream's answer makes of the attempt: the same table as for METHOD workers (domain/answer.ts). One thing differs. An attached
 * worker cannot hand an attempt back, so what never began is a failure that is retried; its reason says that nothing ran.
 */
export function readUpstream({ answer, method, aborted, maxResultBytes }: MethodReading): Outcome {
  const delivery = readCall({ answer, work: method, aborted, maxResultBytes });
  switch (delivery.kind) {
    case 'result':
    case 'unknown':
      return delivery.outcome;
    case 'released':
      return notBegun(answer, delivery.reason);
    case 'aborted':
      return failure(Code.CANCELLED, 'aborted', 'the call was cancelled', true);
    case 'accepted':
      return failure(Code.INTERNAL, 'bad_answer', 'no method answers that it will report later', true);
  }
}

function notBegun({ code, reach, refusedStream }: Answer, why: string): Outcome {
  if (reach === 'sent' && !refusedStream && code === Code.UNIMPLEMENTED) return failure(code, 'unknown_method', why, true);
  if (reach === 'sent' && !refusedStream && code === Code.RESOURCE_EXHAUSTED) return failure(code, 'busy', why, true);
  return failure(Code.UNAVAILABLE, 'unreachable', why, true);
}
