import { beforeAll, expect, test } from 'vitest';
import { AdminServiceService, PurgeScope } from '../../../src/grpc/generated/muster/v1/admin.js';
import type { EmbeddedRedis } from '../../../src/lifecycle/embedded-redis.js';
import { type Api, connect } from '../../../src/sdk/connect.js';
import { Worker } from '../../../src/sdk/index.js';
import { jobSpec } from '../../../src/sdk/run.js';
import { setOf } from '../../helpers/descriptors.js';
import { ownRedis } from '../../helpers/redis.js';
import { startReplica } from '../../helpers/replica.js';
import { over, startSecured, token } from '../../helpers/secured.js';

/** What an operator may call without a trace: it changes nothing. */
const READS = ['ListWorkers', 'GetWorker', 'ListPools', 'ListReplicas', 'GetPoolDescriptors', 'WatchEvents'];
let redis: EmbeddedRedis;

beforeAll(async () => {
  redis = await ownRedis();
});

interface Act {
  kind: string;
  subject: string;
  identity: string | undefined;
  count: string | undefined;
}

/** The operators' acts in a pool, in order. */
async function acts(api: Api, pool: string): Promise<Act[]> {
  const found: Act[] = [];
  for await (const { kind, subject, fields } of api.watchEvents({ pool, after: '0', within: { seconds: '0', nanos: 1_000_000 } })) {
    if (kind.startsWith('admin.')) found.push({ kind, subject, identity: fields['identity'], count: fields['count'] });
  }
  return found;
}

/** Everything that an operator can change, once each, and once more where that changes nothing. */
async function everything(api: Api, pool: string): Promise<void> {
  await api.pausePool({ pool });
  await api.pausePool({ pool });
  await api.resumePool({ pool });
  await api.drainWorker({ pool, id: 'w' });
  await api.drainWorker({ pool, id: 'w' });
  const failing = jobSpec({ pool, id: 'bad', work: { $case: 'kind', value: 'fails' }, retry: { maxAttempts: 1 } });
  await api.undrainWorker({ pool, id: 'w' });
  await api.runJob({ spec: failing, wait: undefined, cancelOnDisconnect: false });
  await api.drainWorker({ pool, id: 'w' });
  await api.retryBuried({ pool });
  await api.purgePool({ pool, scope: PurgeScope.PURGE_SCOPE_QUEUED });
  await api.purgePool({ pool, scope: PurgeScope.PURGE_SCOPE_QUEUED });
  await api.putPoolDescriptors({ pool, fileDescriptorSet: setOf('job/job.proto') });
  await api.evictWorker({ pool, id: 'w', reason: 'broken' });
  await api.evictWorker({ pool, id: 'nobody', reason: '' }).catch(() => undefined);
}

function expected(identity: string): Act[] {
  const act = (name: string, subject: string, count?: string) => ({ kind: `admin.${name}`, subject, identity, count });
  return [
    act('PausePool', ''),
    act('ResumePool', ''),
    act('DrainWorker', 'w'),
    act('UndrainWorker', 'w'),
    act('DrainWorker', 'w'),
    act('RetryBuried', '', '1'),
    act('PurgePool', 'queued', '1'),
    act('PutPoolDescriptors', ''),
    act('EvictWorker', 'w'),
  ];
}

const fails = async () => {
  throw new Error('no');
};

test('each act that changed something is an event of its pool, with whose it was', async () => {
  const ops = token('admin', 'alice');
  const replica = await startSecured(redis.url, { tokens: [ops.line] });
  const api = replica.api(over(replica.ca, { secret: ops.secret }));
  const worker = new Worker({ target: replica.target, credentials: over(replica.ca, { secret: ops.secret }), pool: 'trail', id: 'w' }).handle(
    'fails',
    fails,
  );
  worker.on('failed', () => undefined).on('error', () => undefined);
  await worker.start({ signals: false });
  await everything(api, 'trail');
  const trail = await acts(api, 'trail');
  expect(trail).toEqual(expected('alice'));
  const names = Object.values(AdminServiceService).map(({ path }) => path.split('/').at(-1) ?? '');
  // The events of a pool go with it: a replica logs who deleted it.
  expect(names.filter((name) => ![...READS, 'DeletePool'].includes(name)).sort()).toEqual(
    [...new Set(trail.map(({ kind }) => kind.slice('admin.'.length)))].sort(),
  );
  await worker.stop({ graceMs: 0 });
});

test('where nobody is asked who calls, it was anonymous', async () => {
  const { target } = await startReplica(redis.url);
  const api = connect(target);
  const worker = new Worker({ target, pool: 'open', id: 'w' }).handle('fails', fails);
  worker.on('failed', () => undefined).on('error', () => undefined);
  await worker.start({ signals: false });
  await everything(api, 'open');
  expect(await acts(api, 'open')).toEqual(expected('anonymous'));
  await worker.stop({ graceMs: 0 });
  api.close();
});
