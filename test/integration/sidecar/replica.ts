import { readConfig } from '../../../src/config.js';
import { systemClock, systemIds, systemRandom } from '../../../src/domain/clock.js';
import { createLog } from '../../../src/lifecycle/log.js';
import { Replica } from '../../../src/lifecycle/replica.js';

/** A whole replica within this process, on ports of its own. Stopped with `stop`. */
export async function startReplica(redisUrl: string, settings: Record<string, string> = {}): Promise<{ target: string; stop(): Promise<void> }> {
  const config = readConfig({
    MUSTER_REDIS_URL: redisUrl,
    MUSTER_GRPC_ADDR: '127.0.0.1:0',
    MUSTER_HTTP_ADDR: '',
    MUSTER_INSECURE: 'true',
    MUSTER_STOP_LEAD_MS: '0',
    MUSTER_STOP_GRACE_MS: '1000',
    MUSTER_BACKOFF_MS: '50',
    ...settings,
  });
  const replica = new Replica({
    config,
    version: '0',
    clock: systemClock,
    ids: systemIds,
    random: systemRandom,
    log: (id) => createLog('silent', id),
  });
  const { grpcPort } = await replica.start(AbortSignal.timeout(20_000));
  return { target: `127.0.0.1:${grpcPort}`, stop: () => replica.stop() };
}
