/** The part of a call of grpc-js that decodes its messages. */
interface Decoding {
  nextCall?: Decoding;
  call?: Decoding;
  decoder?: { readState: number; readPartialMessage: Buffer[] };
}

/** No message is half read. */
const NO_DATA = 0;

/**
 * Lets the bytes of the last message of a call go. grpc-js keeps them until the next message begins, which for a call that waits for the end
 * of a job is never. A grpc-js that has changed inside keeps them: `test/e2e/hostile.test.ts` sees that.
 */
export function forgetMessage(call: unknown): void {
  let inner = call as Decoding | undefined;
  while (inner && !inner.decoder) inner = inner.nextCall ?? inner.call;
  if (inner?.decoder?.readState === NO_DATA) inner.decoder.readPartialMessage = [];
}
