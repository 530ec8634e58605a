import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runToEnd } from '../../../src/sdk/run.js';
import { createCa } from '../../helpers/certs.js';
import { freePorts } from '../../helpers/ports.js';
import { ownRedis, uniquePool } from '../../helpers/redis.js';
import { TlsFiles } from '../../helpers/redis-tls.js';
import { until } from '../../helpers/until.js';
import { muster } from '../../unit/cli/harness.js';
import { startReplica } from './support.js';
import { runnerWorker } from './workers.js';

/** A Redis whose TLS port takes nobody without a certificate, one with a name that nobody calls it by, a Sentinel and a Cluster of one node. */
let files: TlsFiles;
let url: string;
let otherName: string;
let sentinel: string;
let cluster: string;
/** A certificate of ours that Redis takes. */
let ours: { cert: string; key: string };

beforeAll(async () => {
  files = await TlsFiles.create();
  const [port = 0, named = 0, watcher = 0, node = 0, bus = 0] = await freePorts(5);
  const own = await files.pair('redis', ['127.0.0.1', 'localhost']);
  ours = await files.pair('ours', ['muster']);
  await ownRedis({ extraArgs: files.serverArgs(port, own, 'yes') });
  await ownRedis({ extraArgs: files.serverArgs(named, await files.pair('named', ['redis.internal']), 'no') });
  const configFile = files.file('sentinel.conf', `sentinel monitor main 127.0.0.1 ${port} 1\n`);
  await ownRedis({ configFile, extraArgs: ['--sentinel', ...files.serverArgs(watcher, own, 'yes'), '--tls-replication', 'yes'] });
  const clustered = ['--cluster-enabled', 'yes', '--cluster-port', String(bus), '--tls-cluster', 'yes', '--cluster-announce-ip', '127.0.0.1'];
  const single = new Redis((await ownRedis({ extraArgs: [...files.serverArgs(node, own, 'yes'), ...clustered] })).url);
  await single.cluster('ADDSLOTSRANGE', 0, 16_383);
  await until(async () => String(await single.cluster('INFO')).includes('cluster_state:ok'), { what: 'the Cluster of one' });
  single.disconnect();
  url = `rediss://127.0.0.1:${port}`;
  otherName = `rediss://127.0.0.1:${named}`;
  sentinel = `rediss+sentinel://127.0.0.1:${watcher}/main`;
  cluster = `rediss+cluster://127.0.0.1:${node}`;
});

afterAll(() => files?.remove());

const trusted = () => ({ REDIS_CA: files.caFile, REDIS_CERT: ours.cert, REDIS_KEY: ours.key });
const asEnv = (settings: object) => Object.fromEntries(Object.entries(settings).map(([name, value]) => [`MUSTER_${name}`, value as string]));

/** A job goes through, and BullMQ, which has connections of its own, makes a sweep. */
async function works(at: string): Promise<void> {
  const replica = await startReplica(at, trusted());
  const pool = uniquePool();
  await runnerWorker(replica.target, pool, 'w');
  await runToEnd(replica.api, { pool, id: 'j', work: { $case: 'kind', value: 'echo' } });
  const env = asEnv({ REDIS_URL: at, ...trusted() });
  const swept = async () => !(await muster(['doctor'], { env })).text.includes('there was no health sweep yet');
  await until(swept, { timeoutMs: 20_000, what: 'a sweep' });
  expect((await muster(['doctor'], { env })).code).toBe(0);
  expect(await muster(['audit'], { env })).toMatchObject({ code: 0, story: 'no invariant is broken' });
  await replica.stop();
}

test('with an authority of its own and a certificate of ours: a replica, BullMQ, doctor and audit', () => works(url));

test('the same by a Sentinel, which wants the certificate too', () => works(sentinel));

test('the same on a Cluster', () => works(cluster));

test('a certificate of an authority that is not trusted ends the start, and names the setting; so does doctor', async () => {
  const message = expect.stringMatching(/certificate of Redis is signed by nobody who is trusted here .*set MUSTER_REDIS_CA to the PEM file/);
  const wrong = files.file('wrong.pem', (await createCa('another')).cert);
  for (const at of [url, sentinel, cluster]) {
    for (const settings of [{}, { ...trusted(), REDIS_CA: wrong }])
      await expect(startReplica(at, settings), at).rejects.toMatchObject({ reason: 'REDIS_TLS', message });
  }
  expect(await muster(['doctor', '--redis-url', url])).toMatchObject({ code: 1, story: message });
});

test('so does a Redis that wants a certificate of ours and gets none, or one of a stranger', async () => {
  const stranger = await files.pair('stranger', ['muster'], await createCa('another'));
  for (const settings of [{}, { REDIS_CERT: stranger.cert, REDIS_KEY: stranger.key }]) {
    await expect(startReplica(url, { REDIS_CA: files.caFile, ...settings })).rejects.toMatchObject({
      reason: 'REDIS_TLS',
      message: expect.stringMatching(/^Redis does not take our certificate, or wants one .*MUSTER_REDIS_CERT and MUSTER_REDIS_KEY/),
    });
  }
});

test('so does a certificate for another name, unless REDIS_SERVER_NAME says which', async () => {
  const settings = { REDIS_CA: files.caFile };
  await expect(startReplica(otherName, settings)).rejects.toMatchObject({
    reason: 'REDIS_TLS',
    message: expect.stringMatching(/certificate of Redis is for other names .*set MUSTER_REDIS_SERVER_NAME/),
  });
  await (await startReplica(otherName, { ...settings, REDIS_SERVER_NAME: 'redis.internal' })).stop();
});

test('a file that is not there, is no PEM, or is the key of another certificate is refused by the name of its setting', async () => {
  const other = await files.pair('other', ['muster']);
  const refused: [object, RegExp][] = [
    [{ REDIS_CA: '/nowhere.pem' }, /^MUSTER_REDIS_CA: \/nowhere\.pem cannot be read \(ENOENT/],
    [{ REDIS_CA: files.file('empty.pem', '') }, /^MUSTER_REDIS_CA: .*empty\.pem is no PEM of a certificate/],
    [{ ...trusted(), REDIS_CERT: ours.key }, /^MUSTER_REDIS_CERT: .*ours\.key is no PEM of a certificate/],
    [{ ...trusted(), REDIS_KEY: ours.cert }, /^MUSTER_REDIS_KEY: .*ours\.pem is no PEM of the key of MUSTER_REDIS_CERT/],
    [{ ...trusted(), REDIS_KEY: other.key }, /^MUSTER_REDIS_KEY: .*other\.key is no PEM of the key of MUSTER_REDIS_CERT/],
  ];
  for (const [settings, message] of refused) {
    await expect(startReplica(url, settings)).rejects.toThrow(message);
    expect(await muster(['audit'], { env: asEnv({ REDIS_URL: url, ...settings }) })).toMatchObject({
      code: 2,
      story: expect.stringMatching(/MUSTER_REDIS_/),
    });
  }
});
