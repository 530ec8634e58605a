import type { Redis } from 'ioredis';
import { type Connection, isCluster } from './nodes.js';

/** What ioredis has of a command that waits for its reply. */
interface Pending {
  args: readonly unknown[];
  promise: Promise<unknown>;
  isSettled: boolean;
  _commandTimeoutTimer?: NodeJS.Timeout | undefined;
  setTimeout(ms: number): void;
  reject(error: Error): void;
}

/** What Node has of a socket. */
interface Stream {
  bytesRead?: number;
  bytesWritten?: number;
  writableLength?: number;
  _handle?: { writeQueueSize?: number } | null;
}

/** The connection is looked at so often within the time of a command. */
const LOOKS = 4;
/** The kernel takes megabytes at once, and does not tell when they are there. So fast a link is expected to carry them: 8 Mbit/s. */
const SENT_BYTES_A_MS = 1_000;
/** Commands below that are not counted. */
const LARGE_BYTES = 16_384;

/**
 * Makes `commandTimeout` count from the last byte that came or went, on each node of a Cluster by itself. A large reply on a slow network takes
 * longer than that as a whole: given up in its middle, it would be asked for again, and never come. Redis answers in order, so bytes of
 * earlier replies are progress of later commands too.
 */
export function timeoutByProgress(redis: Connection): void {
  if (isCluster(redis)) {
    for (const node of redis.nodes('all')) timeoutByProgress(node);
    redis.on('+node', timeoutByProgress);
    return;
  }
  const send = redis.sendCommand;
  /** Of large commands that have no reply yet. */
  let underWay = 0;
  redis.sendCommand = function (this: Redis, command, stream) {
    const pending = command as unknown as Pending;
    const bytes = bytesOf(pending.args);
    if (bytes >= LARGE_BYTES) {
      const over = () => {
        underWay -= bytes;
      };
      underWay += bytes;
      pending.promise.then(over, over);
    }
    pending.setTimeout = (ms) => wait(redis, pending, ms, underWay / SENT_BYTES_A_MS);
    return send.call(this, command, stream);
  };
}

/** `extraMs`: in which nothing need come. */
function wait(redis: Redis, pending: Pending, ms: number, extraMs: number): void {
  if (pending._commandTimeoutTimer) return;
  let seen = stateOf(redis);
  let left = LOOKS + Math.ceil((extraMs * LOOKS) / ms);
  const look = () => {
    if (pending.isSettled) return;
    const now = stateOf(redis);
    // What later commands write is none: a Redis that hangs takes it, too. What waited here and went is.
    const moved = now.read !== seen.read || (seen.queued > 0 && now.sent !== seen.sent);
    left = moved ? Math.max(left - 1, LOOKS - 1) : left - 1;
    seen = now;
    if (left <= 0) pending.reject(new Error('Command timed out'));
    // Under the name by which ioredis ends it when the reply is here.
    else pending._commandTimeoutTimer = setTimeout(look, ms / LOOKS);
  };
  pending._commandTimeoutTimer = setTimeout(look, ms / LOOKS);
}

function bytesOf(args: readonly unknown[]): number {
  let bytes = 0;
  for (const arg of args) if (typeof arg === 'string' || Buffer.isBuffer(arg)) bytes += arg.length;
  return bytes;
}

/** Bytes that came, that went, and that the kernel has not taken yet. */
function stateOf({ stream }: Redis): { read: number; sent: number; queued: number } {
  const { bytesRead = 0, bytesWritten = 0, writableLength = 0, _handle } = (stream ?? {}) as Stream;
  const queued = Math.max(writableLength, _handle?.writeQueueSize ?? 0);
  return { read: bytesRead, sent: bytesWritten - queued, queued };
}
