import { type Config, ConfigError } from '../config.js';
import { systemClock, systemIds, systemRandom } from '../domain/clock.js';
import { MusterError, toError } from '../domain/errors.js';
import { arm } from './failpoint.js';
import { createLog } from './log.js';
import { Replica } from './replica.js';
import { checkSecurity } from './security.js';
import { VERSION } from './version.js';

const EXIT = { stopped: 0, failed: 1, unreachable: 3 };
const LINGER_MS = 500;
const SIGNALS = { SIGTERM: 15, SIGINT: 2 } as const;

/**
 * Runs one replica until a signal stops it. The first SIGTERM or SIGINT stops in order (exit code 0, as supervisors expect of a service
 * that was told to stop), a second one at once (128 + its number).
 * Rejects with ConfigError for what it may not serve.
 */
export async function runService(config: Config): Promise<number> {
  checkSecurity(config);
  const replica = new Replica({
    config,
    version: VERSION,
    clock: systemClock,
    ids: systemIds,
    random: systemRandom,
    log: (id) => createLog(config.LOG_LEVEL, id),
  });
  if (config.INSECURE) replica.log.warn('INSECURE: plaintext, and whoever reaches this port may do everything');
  arm(config.FAILPOINT, replica.log);
  // A bug of ours in the background of one call: no reason to cut everybody else's.
  process.on('unhandledRejection', (reason) => replica.log.error({ err: toError(reason) }, 'unhandled rejection'));
  const told = new AbortController();
  const signalled = new Promise<void>((resolve) => {
    for (const [signal, number] of Object.entries(SIGNALS)) {
      process.on(signal, () => {
        if (told.signal.aborted) process.exit(128 + number);
        told.abort(new Error(signal));
        resolve();
      });
    }
  });
  try {
    await replica.start(told.signal);
    await signalled;
  } catch (error) {
    if (!told.signal.aborted) {
      replica.log.fatal({ err: toError(error) }, 'cannot start');
      await replica.stop();
      if (error instanceof ConfigError) throw error;
      return error instanceof MusterError && error.code === 'unavailable' ? EXIT.unreachable : EXIT.failed;
    }
  }
  await replica.stop();
  // With Redis away some of BullMQ's connections cannot be closed: what lingers after an ordered stop must not keep the process.
  setTimeout(() => process.exit(EXIT.stopped), LINGER_MS).unref();
  return EXIT.stopped;
}
