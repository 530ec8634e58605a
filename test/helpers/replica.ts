import { Writable } from 'node:stream';
import { pino } from 'pino';
import { afterAll } from 'vitest';
import { type Config, readConfig } from '../../src/config.js';
import { systemClock, systemIds, systemRandom } from '../../src/domain/clock.js';
import { Replica } from '../../src/lifecycle/replica.js';

/** A whole replica in this process, on free ports of the loopback. */
export interface InProcess {
  id: string;
  /** `host:port` of gRPC. */
  target: string;
  /** 0 unless HTTP_ADDR is set. */
  httpPort: number;
  replica: Replica;
  /** What it logged as an error. */
  errors: string[];
  /** All that it logged, from LOG_LEVEL on. */
  lines: Record<string, unknown>[];
  /** In order, as by SIGTERM. Idempotent. */
  stop(): Promise<void>;
}

const ERROR_LEVEL = 50;
const open: InProcess[] = [];

/**
 * `settings`: names of the configuration without prefix. Times are the real ones but for the pause before a stop: a machine that is busy with
 * other tests keeps those, and a tenth of them it does not.
 */
export async function startReplica(redisUrl: string, settings: Partial<Record<keyof Config, unknown>> = {}): Promise<InProcess> {
  const base = { REDIS_URL: redisUrl, GRPC_ADDR: '127.0.0.1:0', HTTP_ADDR: '', INSECURE: true, STOP_LEAD_MS: 0, REDIS_TIMEOUT_MS: 3_000 };
  const config = readConfig({}, { ...base, ...settings });
  const errors: string[] = [];
  const lines: Record<string, unknown>[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const line of chunk.toString().split('\n')) {
        if (line === '') continue;
        const entry = JSON.parse(line) as { level: number };
        if (entry.level >= ERROR_LEVEL) errors.push(line);
        lines.push({ ...entry });
      }
      done();
    },
  });
  const log = () => pino({ level: config.LOG_LEVEL }, sink);
  const replica = new Replica({ config, version: 'test', clock: systemClock, ids: systemIds, random: systemRandom, log });
  const { grpcPort, httpPort } = await replica.start(AbortSignal.timeout(10_000));
  let stopping: Promise<void> | undefined;
  const stop = () => {
    stopping ??= replica.stop();
    return stopping;
  };
  const running = { id: replica.id, target: `127.0.0.1:${grpcPort}`, httpPort, replica, errors, lines, stop };
  open.push(running);
  return running;
}

afterAll(async () => {
  await Promise.all(open.splice(0).map((running) => running.stop()));
});
