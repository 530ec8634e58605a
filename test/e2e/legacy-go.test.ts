import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Api, connect } from '../../src/sdk/connect.js';
import { legacyRequest, legacyResponse } from '../../src/sdk/legacy-worker.js';
import { Contract, type Job, JobSpec, JobState, WorkerState } from '../../src/sdk/messages.js';
import { build, cached, FOLDER, launch, launchReplica, type Program, works } from '../helpers/programs.js';
import { ownRedis } from '../helpers/redis.js';
import { until } from '../helpers/until.js';

const folder = join(FOLDER, 'test/legacy-go');
const ready = works('go', ['version']) && works('go', ['mod', 'download'], folder);
const binary = join(cached('legacy-go'), 'worker');
const pool = 'default';
/** Times are a tenth of the real ones: a worker is pinged every second. */
const TIME_SCALE = '0.1';

const why = ready ? '' : ' (not run: Go, or the modules it needs, is not here)';
describe.runIf(ready)(`a fleet of the first contract, written in Go${why}`, () => {
  let api: Api;
  let target = '';
  const start = (id: string): Program => launch(binary, ['-target', target, '-id', id]);

  beforeAll(async () => {
    build('sh', ['generate.sh'], folder);
    build('go', ['build', '-o', binary, '.'], folder);
    const redis = await ownRedis();
    target = (await launchReplica(redis.url, { MUSTER_TIME_SCALE: TIME_SCALE })).target;
    api = connect(target);
  });
  afterAll(() => api?.close());

  async function run(request: Parameters<typeof legacyRequest>[0], rest: Partial<JobSpec> = {}): Promise<Job> {
    const spec = JobSpec.fromPartial({
      pool,
      work: { $case: 'method', value: '/job.JobService/RunJob' },
      payload: legacyRequest(request),
      retry: { maxAttempts: 1 },
      ...rest,
    });
    const { job } = await api.runJob({ spec, wait: undefined, cancelOnDisconnect: false }, { deadlineMs: 60_000 });
    if (job === undefined) throw new Error('no job');
    return job;
  }

  const stateOf = async (id: string) => (await api.getWorker({ pool, id })).worker?.state;

  test('registers, is pinged, is given jobs, dies, and comes back by registering again', async () => {
    const worker = start('w1');
    await worker.written(/registered as (w1)/);
    expect(await until(async () => (await api.getWorker({ pool, id: 'w1' })).worker)).toMatchObject({
      contract: Contract.CONTRACT_LEGACY,
      slots: 1,
      region: 'eu',
      state: WorkerState.WORKER_STATE_FREE,
    });

    const job = await run({ jobId: 'b1', repoUrl: 'https://git/app', imageName: 'app' });
    expect(job).toMatchObject({ state: JobState.JOB_STATE_SUCCEEDED, worker: 'w1' });
    const output = job.outcome?.$case === 'output' ? legacyResponse(job.outcome.value) : undefined;
    expect(output).toEqual({ jobId: 'b1', success: true, logs: 'built by w1', imageUrl: 'registry/app', error: '' });
    const failed = await run({ jobId: 'b2' });
    expect(failed.state).toBe(JobState.JOB_STATE_FAILED);
    expect(failed.outcome).toMatchObject({ $case: 'failure', value: { reason: 'job_failed', message: 'no repository' } });

    // One slot: what comes meanwhile waits for its end, and is not refused.
    const both = await Promise.all(['b3', 'b4'].map((jobId) => run({ jobId, repoUrl: 'r', branch: '200ms' })));
    expect(both.map(({ state, attempt }) => [state, attempt])).toEqual([
      [JobState.JOB_STATE_SUCCEEDED, 1],
      [JobState.JOB_STATE_SUCCEEDED, 1],
    ]);

    // The first ping is that of its registration; the others are the sweeps'.
    await worker.written(/ping 3/);
    expect(await stateOf('w1')).toBe(WorkerState.WORKER_STATE_FREE);

    worker.signal('SIGKILL');
    await until(async () => (await stateOf('w1')) === WorkerState.WORKER_STATE_DEAD, { timeoutMs: 30_000, what: 'its death to be noticed' });

    const waiting = run({ jobId: 'b5', repoUrl: 'r' });
    const reborn = start('w1');
    await reborn.written(/registered as (w1)/);
    expect(await waiting).toMatchObject({ state: JobState.JOB_STATE_SUCCEEDED, worker: 'w1' });
    expect(reborn.output()).toContain('job b5');
    expect(await stateOf('w1')).toBe(WorkerState.WORKER_STATE_FREE);
  });

  test('a worker killed in the middle of a job loses it to the next one', async () => {
    const doomed = await only('w2');
    const job = run({ jobId: 'b6', repoUrl: 'r', branch: '60s' }, { retry: JobSpec.fromPartial({ retry: { maxAttempts: 2 } }).retry });
    await doomed.written(/job (b6)/);
    doomed.signal('SIGKILL');
    const { attempt, handovers } = await Promise.race([atAnother(), job]);
    // Whether it was lost before or after its delivery was confirmed, once a tenth of a second.
    expect(attempt + handovers).toBe(2);
  });

  /** Of the fleet, this one alone is left. */
  async function only(id: string): Promise<Program> {
    const worker = start(id);
    await worker.written(new RegExp(`registered as (${id})`));
    const { workers } = await api.listWorkers({ pool, state: WorkerState.WORKER_STATE_UNSPECIFIED, pageSize: 0, pageToken: '' });
    for (const other of workers) if (other.id !== id) await api.evictWorker({ pool, id: other.id, reason: 'not wanted' });
    return worker;
  }

  async function atAnother(): Promise<Job> {
    start('w3');
    return until(
      async () => {
        const { jobs } = await api.listJobs({ pool, state: JobState.JOB_STATE_RUNNING, pageSize: 0, pageToken: '' });
        return jobs.find(({ worker }) => worker === 'w3');
      },
      { timeoutMs: 30_000, what: 'the job at another worker' },
    );
  }
});
