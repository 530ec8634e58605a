import { credentials, type ServiceError, status } from '@grpc/grpc-js';
import { afterEach, expect, test } from 'vitest';
import { Assignment, Contract } from '../../../src/grpc/generated/muster/v1/common.js';
import { type ExecuteResponse, type ProbeResponse, RunnerServiceClient, RunnerStatus } from '../../../src/grpc/generated/muster/v1/runner.js';
import type { DeregisterRequest, WorkerInfo } from '../../../src/grpc/generated/muster/v1/worker.js';
import { toDuration } from '../../../src/sdk/duration.js';
import { type Handler, PermanentError, type Runner, type RunnerOptions, startRunner } from '../../../src/sdk/runner.js';
import { until } from '../../helpers/until.js';
import { type Answers, answer, Refused, startReplica } from './replica.js';

const open: { close(): void }[] = [];
afterEach(() => {
  for (const part of open.splice(0)) part.close();
});

const ack = (pingMs: number) => ({ success: true, message: '', boot: '', replica: 'r1', pingInterval: toDuration(pingMs) });

async function start(handlers: Record<string, Handler>, options: Partial<RunnerOptions> = {}, answers: Answers = {}): Promise<Runner> {
  const replica = await startReplica({ register: answer(() => ack(60_000)), deregister: answer(() => ({ held: 0 })), ...answers });
  const runner = await startRunner({ id: 'w1', pool: 'p', target: replica.target, ip: '127.0.0.1', handlers, ...options });
  open.push(runner, { close: () => replica.kill() });
  return runner;
}

/** A home's side of the link. */
function link(runner: Runner) {
  const client = new RunnerServiceClient(runner.address, credentials.createInsecure());
  open.push(client);
  const assignment = (jobId: string, fence: string, rest: Partial<Assignment> = {}) =>
    Assignment.fromPartial({ jobId, fence, kind: 'work', attempt: 1, ...rest });
  return {
    call: (jobId: string, fence: string, done: (error: ServiceError | null, response: ExecuteResponse) => void) =>
      client.execute({ assignment: assignment(jobId, fence) }, done),
    execute: (jobId: string, fence: string, rest: Partial<Assignment> = {}) =>
      new Promise<ExecuteResponse>((resolve, reject) => {
        client.execute({ assignment: assignment(jobId, fence, rest) }, (error, response) => (error ? reject(error) : resolve(response)));
      }),
    abort: (jobId: string, fence: string) =>
      new Promise<void>((resolve, reject) => client.abort({ jobId, fence }, (error) => (error ? reject(error) : resolve()))),
    probe: () => new Promise<ProbeResponse>((resolve, reject) => client.probe({}, (error, response) => (error ? reject(error) : resolve(response)))),
  };
}

const outputOf = ({ answer: given }: ExecuteResponse) =>
  given?.$case === 'result' && given.value.outcome?.$case === 'output' ? given.value.outcome.value.toString() : undefined;
const failureOf = ({ answer: given }: ExecuteResponse) =>
  given?.$case === 'result' && given.value.outcome?.$case === 'failure' ? given.value.outcome.value : undefined;

/** A handler that ends when told to. */
function gate() {
  const runs: { payload: string; fence: string; signal: AbortSignal; end: () => void }[] = [];
  const handler: Handler = ({ payload, fence, signal }) =>
    new Promise((resolve) => {
      runs.push({ payload: payload.toString(), fence, signal, end: () => resolve(Buffer.from(`done ${fence}`)) });
    });
  return { runs, handler };
}

test('it runs the handler of the kind with all that the assignment says', async () => {
  const runner = await start({
    work: ({ jobId, fence, attempt, payload, metadata, signal }) =>
      Promise.resolve(Buffer.from(`${jobId} ${fence} ${attempt} ${payload} ${metadata['k']} ${signal.aborted}`)),
  });
  const done = await link(runner).execute('j', '1793000000000001', { attempt: 2, payload: Buffer.from('hello'), metadata: { k: 'v' } });
  expect(outputOf(done)).toBe('j 1793000000000001 2 hello v false');
});

test('the same fence joins what runs, and later gets the remembered result: it runs once', async () => {
  const { runs, handler } = gate();
  const home = link(await start({ work: handler }));
  const both = [home.execute('j', '5'), home.execute('j', '5')];
  await until(() => runs.length > 0);
  runs[0]?.end();
  expect((await Promise.all(both)).map(outputOf)).toEqual(['done 5', 'done 5']);
  expect(outputOf(await home.execute('j', '5'))).toBe('done 5');
  expect(runs).toHaveLength(1);
});

test('an older fence is refused, a newer one aborts what runs', async () => {
  const { runs, handler } = gate();
  const home = link(await start({ work: handler }, { slots: 2 }));
  const first = home.execute('j', '9007199254740993');
  await until(() => runs.length === 1);
  await expect(home.execute('j', '9007199254740992')).rejects.toMatchObject({ code: status.FAILED_PRECONDITION });
  const second = home.execute('j', '9007199254740994');
  await until(() => runs.length === 2);
  expect(runs.map(({ signal }) => signal.aborted)).toEqual([true, false]);
  for (const run of runs) run.end();
  expect(outputOf(await second)).toBe('done 9007199254740994');
  await first;
});

test('no free slot, an unknown kind and a name that every object has are refused, and nothing runs', async () => {
  const { runs, handler } = gate();
  const home = link(await start({ work: handler }));
  await expect(home.execute('k', '1', { kind: 'other' })).rejects.toMatchObject({ code: status.UNIMPLEMENTED });
  await expect(home.execute('k', '2', { kind: 'constructor' })).rejects.toMatchObject({ code: status.UNIMPLEMENTED });
  await expect(home.execute('', '3')).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
  const first = home.execute('a', '10');
  await until(() => runs.length === 1);
  await expect(home.execute('b', '11')).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED });
  runs[0]?.end();
  await first;
  const refusedBefore = home.execute('b', '11');
  await until(() => runs.length === 2);
  runs[1]?.end();
  expect(outputOf(await refusedBefore)).toBe('done 11');
});

test('what a handler throws may be repeated; PermanentError and what is no bytes may not', async () => {
  const runner = await start({
    work: () => Promise.reject(new Error('flaky')),
    broken: () => Promise.reject(new PermanentError('bad input')),
    empty: (() => Promise.resolve(undefined)) as unknown as Handler,
  });
  const home = link(runner);
  expect(failureOf(await home.execute('a', '1'))).toMatchObject({ code: status.UNKNOWN, message: 'flaky', retryable: true });
  expect(failureOf(await home.execute('b', '2', { kind: 'broken' }))).toMatchObject({ code: status.UNKNOWN, message: 'bad input', retryable: false });
  expect(failureOf(await home.execute('c', '3', { kind: 'empty' }))).toMatchObject({ retryable: false });
});

test('a probe tells what runs and whether a slot is free', async () => {
  const { runs, handler } = gate();
  const runner = await start({ work: handler }, { slots: 2 });
  const home = link(runner);
  expect(await home.probe()).toEqual({ workerId: 'w1', boot: runner.boot, status: RunnerStatus.RUNNER_STATUS_FREE, held: [] });
  const calls = [home.execute('a', '1'), home.execute('b', '2')];
  await until(() => runs.length === 2);
  const busy = await home.probe();
  expect(busy.status).toBe(RunnerStatus.RUNNER_STATUS_BUSY);
  expect(busy.held.map(({ jobId, fence, done }) => [jobId, fence, done])).toEqual([
    ['a', '1', false],
    ['b', '2', false],
  ]);
  for (const run of runs) run.end();
  await Promise.all(calls);
  expect(await home.probe()).toMatchObject({ status: RunnerStatus.RUNNER_STATUS_FREE, held: [] });
});

test('an attempt outlives the call that asked; its result is held until someone comes for it', async () => {
  const { runs, handler } = gate();
  const home = link(await start({ work: handler }));
  const cut = new Promise<number>((resolve) => {
    const call = home.call('j', '7', (error) => resolve(error?.code ?? 0));
    void until(() => runs.length === 1).then(() => call.cancel());
  });
  expect(await cut).toBe(status.CANCELLED);
  // On the same connection frames keep their order: when this is answered the worker knows of the broken call.
  expect((await home.probe()).held).toMatchObject([{ jobId: 'j', fence: '7', done: false }]);
  expect(runs[0]?.signal.aborted).toBe(false);
  runs[0]?.end();
  const waiting = await until(async () => {
    const { held } = await home.probe();
    return held[0]?.done ? held : undefined;
  });
  expect(waiting).toMatchObject([{ jobId: 'j', fence: '7', done: true }]);
  expect(outputOf(await home.execute('j', '7'))).toBe('done 7');
  expect((await home.probe()).held).toEqual([]);
  expect(runs).toHaveLength(1);
});

test('abort ends the signal and answers once the handler is over', async () => {
  let over = false;
  const work: Handler = ({ signal }) =>
    new Promise((_, reject) => {
      signal.addEventListener('abort', () => {
        over = true;
        reject(new Error('stopped'));
      });
    });
  const home = link(await start({ work }));
  const running = home.execute('j', '1');
  await until(async () => (await home.probe()).held.length === 1);
  await home.abort('j', '1');
  expect(over).toBe(true);
  expect(failureOf(await running)).toMatchObject({ code: status.CANCELLED, reason: 'aborted' });
  await home.abort('unknown', '1');
});

test('an attempt over its time is answered so; its slot stays taken until the handler is over', async () => {
  const { runs, handler } = gate();
  const home = link(await start({ work: handler }));
  const late = await home.execute('j', '1', { runTimeout: toDuration(30) });
  expect(failureOf(late)).toMatchObject({ code: status.DEADLINE_EXCEEDED, reason: 'run_timeout', retryable: true });
  expect(runs[0]?.signal.aborted).toBe(true);
  expect(await home.probe()).toMatchObject({ status: RunnerStatus.RUNNER_STATUS_BUSY, held: [{ jobId: 'j', fence: '1' }] });
  runs[0]?.end();
  await until(async () => (await home.probe()).status === RunnerStatus.RUNNER_STATUS_FREE);
});

test('it registers with where it listens, and again when a ping says so', async () => {
  const seen: WorkerInfo[] = [];
  let pings = 0;
  const replicas: string[] = [];
  const runner = await start(
    { work: () => Promise.resolve(Buffer.alloc(0)) },
    { slots: 3, boot: 'b1', advertiseIp: '127.0.0.9', onRegistered: (name) => replicas.push(name) },
    {
      register: answer((info) => {
        seen.push(info);
        return ack(100);
      }),
      ping: answer(({ id, pool, boot }) => {
        pings += 1;
        return { healthy: id === 'w1' && pool === 'p' && boot === 'b1' && pings !== 2, reason: '' };
      }),
    },
  );
  expect(await runner.registered).toBe(true);
  await until(() => seen.length === 2);
  const port = Number(runner.address.split(':')[1]);
  expect(seen[1]).toMatchObject({
    id: 'w1',
    pool: 'p',
    ip: '127.0.0.9',
    port,
    slots: 3,
    boot: 'b1',
    contract: Contract.CONTRACT_RUNNER,
    kinds: ['work'],
  });
  expect(seen[1]).toEqual(seen[0]);
  await until(() => pings >= 3);
  expect(replicas).toEqual(['r1', 'r1']);
});

test('registration goes on over refusals; those that a person should see are told', async () => {
  const codes = [status.UNAVAILABLE, status.ABORTED, status.ALREADY_EXISTS, status.FAILED_PRECONDITION];
  const told: string[] = [];
  const runner = await start(
    {},
    { slowRetryMs: 20, onError: ({ message }) => told.push(message), random: () => 0 },
    {
      register: answer(() => {
        const code = codes.shift();
        if (code === undefined) return ack(60_000);
        throw new Refused(code, '', status[code] ?? '');
      }),
    },
  );
  expect(await runner.registered).toBe(true);
  expect(told).toEqual(['ALREADY_EXISTS', 'FAILED_PRECONDITION']);
});

test('stop leaves the roll, takes nothing new and finishes what runs', async () => {
  const { runs, handler } = gate();
  const left: DeregisterRequest[] = [];
  const runner = await start(
    { work: handler },
    { boot: 'b1', slots: 2 },
    {
      deregister: answer((request) => {
        left.push(request);
        return { held: 1 };
      }),
    },
  );
  await runner.registered;
  const home = link(runner);
  const running = home.execute('j', '1');
  await until(() => runs.length === 1);
  const stopped = runner.stop();
  await until(() => left.length === 1);
  expect(left).toMatchObject([{ pool: 'p', id: 'w1', boot: 'b1' }]);
  await expect(home.execute('k', '2')).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED });
  expect(runs[0]?.signal.aborted).toBe(false);
  runs[0]?.end();
  expect(outputOf(await running)).toBe('done 1');
  await stopped;
  await expect(home.probe()).rejects.toMatchObject({ code: status.UNAVAILABLE });
  await runner.stop();
});

test('close ends at once, also before it was registered', async () => {
  const { runs, handler } = gate();
  const runner = await start({ work: handler }, {}, { register: () => {} });
  const home = link(runner);
  const running = expect(home.execute('j', '1')).rejects.toMatchObject({ code: expect.any(Number) });
  await until(() => runs.length === 1);
  runner.close();
  await running;
  expect(runs[0]?.signal.aborted).toBe(true);
  expect(await runner.registered).toBe(false);
  await runner.stop();
});

test('a port that is taken rejects', async () => {
  const first = await start({});
  const port = Number(first.address.split(':')[1]);
  await expect(start({}, { port })).rejects.toThrow(/EADDRINUSE|bound/);
});
