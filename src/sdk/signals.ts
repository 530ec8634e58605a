import { constants } from 'node:os';
import { toError } from '../domain/errors.js';

/** What ends with the process. */
export interface Stoppable {
  /** Ends in order; may take its time. */
  drain(): Promise<void>;
  /** Ends now. */
  abort(): Promise<void>;
}

const SIGNALS = ['SIGTERM', 'SIGINT'] as const;

const watched = new Set<Stoppable>();
let told = false;

/**
 * The first SIGTERM or SIGINT drains everything that is watched in this process, and the process then ends by that signal; a second one aborts.
 * Answers with how to watch it no longer.
 */
export function endWithSignals(stoppable: Stoppable): () => void {
  if (watched.size === 0) for (const signal of SIGNALS) process.on(signal, onSignal);
  watched.add(stoppable);
  return () => {
    watched.delete(stoppable);
    // While they end together, the last one is followed by the signal itself.
    if (watched.size === 0 && !told) forget();
  };
}

function onSignal(signal: NodeJS.Signals): void {
  const all = [...watched];
  if (told) {
    for (const stoppable of all) void stoppable.abort().catch(warn);
    return;
  }
  told = true;
  void Promise.allSettled(all.map((stoppable) => stoppable.drain())).then(() => {
    told = false;
    forget();
    watched.clear();
    // Whoever else listens decides for itself when the process ends.
    if (process.listenerCount(signal) > 0) return;
    process.kill(process.pid, signal);
    // The first process of a container is deaf to a signal that it has no handler for: it would go on until it is killed.
    process.exit(128 + constants.signals[signal]);
  });
}

function forget(): void {
  for (const signal of SIGNALS) process.off(signal, onSignal);
}

function warn(error: unknown): void {
  process.emitWarning(toError(error));
}
