import { context, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { BasicTracerProvider, InMemorySpanExporter, type ReadableSpan, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { connect, runToEnd, startRunner } from '../../../src/sdk/index.js';
import { redisUrl, uniquePool } from '../../helpers/redis.js';
import { type InProcess, startReplica } from '../../helpers/replica.js';
import { until } from '../../helpers/until.js';
import { newClient, rejection, startWorker } from './support.js';

/** Client, replica and worker in one process, each over real connections, with the one SDK that they find. */
const exporter = new InMemorySpanExporter();
let replica: InProcess;
beforeAll(async () => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
  replica = await startReplica(redisUrl);
});

afterAll(() => {
  trace.disable();
  context.disable();
});

beforeEach(() => exporter.reset());

const tracer = trace.getTracer('test');

/** Runs it in a span of its own; answers with that span's ids. */
async function within<T>(run: () => Promise<T>): Promise<{ traceId: string; spanId: string; value: T }> {
  const span = tracer.startSpan('caller');
  const value = await context.with(trace.setSpan(context.active(), span), run);
  span.end();
  return { ...span.spanContext(), value };
}

const ofKind = (kind: SpanKind, name: string) => exporter.getFinishedSpans().filter((span) => span.kind === kind && span.name === name);
const idOf = (span: ReadableSpan | undefined) => span?.spanContext().spanId;
const parentOf = (span: ReadableSpan | undefined) => span?.parentSpanContext?.spanId;
const eventsOf = (span: ReadableSpan | undefined) => span?.events.map(({ name }) => name);

/** Ended in the order in which their sides learn of the end. */
async function spans(workers: number): Promise<{ client: ReadableSpan[]; replica: ReadableSpan[]; worker: ReadableSpan[] }> {
  const all = () => ({
    client: ofKind(SpanKind.PRODUCER, 'muster.submit'),
    replica: ofKind(SpanKind.SERVER, 'muster.submit'),
    worker: ofKind(SpanKind.CONSUMER, 'muster.job'),
  });
  await until(() => all().client.length === 1 && all().replica.length === 1 && all().worker.length === workers, { what: 'all spans to end' });
  return all();
}

test('over a session to an attached worker: one trace, the client below its caller, replica and worker below the client', async () => {
  const pool = uniquePool();
  let seen: string | undefined;
  await startWorker({ target: replica.target, pool }, (worker) =>
    worker.handle('traced', () => {
      seen = trace.getActiveSpan()?.spanContext().spanId;
      return 1;
    }),
  );
  const client = newClient({ target: replica.target });
  const caller = await within(() => client.run('traced', 1, { pool, id: 'j1' }));
  const all = await spans(1);
  const [produced, submitted, ran] = [all.client[0], all.replica[0], all.worker[0]];
  expect([produced, submitted, ran].map((span) => span?.spanContext().traceId)).toEqual([caller.traceId, caller.traceId, caller.traceId]);
  expect(parentOf(produced)).toBe(caller.spanId);
  expect(parentOf(submitted)).toBe(idOf(produced));
  expect(parentOf(ran)).toBe(idOf(produced));
  expect(seen).toBe(idOf(ran));
  expect(ran?.attributes).toEqual({ 'muster.pool': pool, 'muster.kind': 'traced', 'muster.job.id': 'j1', 'muster.attempt': 1 });
  expect(produced?.attributes).toEqual({ 'muster.pool': pool, 'muster.kind': 'traced', 'muster.job.id': 'j1' });
  expect(eventsOf(submitted)?.toSorted()).toEqual(['accepted', 'finished', 'matched']);
});

test('a retry is a second span of the worker in the same trace, the first of which says what went wrong', async () => {
  const pool = uniquePool();
  await startWorker({ target: replica.target, pool }, (worker) =>
    worker.handle('flaky', (_: unknown, { attempt }) => {
      if (attempt === 1) throw new Error('no luck');
      return attempt;
    }),
  );
  const client = newClient({ target: replica.target });
  const options = { pool, retry: { initialBackoffMs: 1, maxBackoffMs: 1 } };
  const { traceId, value } = await within(() => client.run('flaky', 1, options));
  expect(value).toBe(2);
  const { client: produced, worker } = await spans(2);
  expect(worker.map((span) => [span.spanContext().traceId, parentOf(span), span.attributes['muster.attempt'], span.status.code])).toEqual([
    [traceId, idOf(produced[0]), 1, SpanStatusCode.ERROR],
    [traceId, idOf(produced[0]), 2, SpanStatusCode.UNSET],
  ]);
  expect(worker[0]?.status.message).toBe('no luck');
});

test('over RunJob to a dialed worker: the same', async () => {
  const pool = uniquePool();
  const runner = await startRunner({ id: 'r1', pool, target: replica.target, ip: '127.0.0.1', handlers: { traced: async () => Buffer.from('out') } });
  await runner.registered;
  const api = connect(replica.target);
  const { traceId, spanId } = await within(() => runToEnd(api, { pool, work: { $case: 'kind', value: 'traced' } }));
  const { client, replica: submitted, worker } = await spans(1);
  expect([client[0], submitted[0], worker[0]].map((span) => span?.spanContext().traceId)).toEqual([traceId, traceId, traceId]);
  expect([client[0], submitted[0], worker[0]].map(parentOf)).toEqual([spanId, idOf(client[0]), idOf(client[0])]);
  expect(eventsOf(submitted[0])?.toSorted()).toEqual(['accepted', 'finished', 'matched']);
  api.close();
  await runner.stop();
});

test('a call that says nothing of traces in its job has that of its metadata; the job submitted again in another is the same job', async () => {
  const pool = uniquePool();
  const api = connect(replica.target);
  const spec = { pool, id: 'j1', work: { $case: 'kind', value: 'k' } as const, payload: Buffer.from('in') };
  const submit = () => api.submitJob({ spec: { ...emptySpec, ...spec } });
  const first = await within(submit);
  expect(first.value.created).toBe(true);
  expect(first.value.job?.spec?.metadata['traceparent']).toBe(`00-${first.traceId}-${first.spanId}-01`);
  const again = await within(submit);
  expect(again.value.created).toBe(false);
  expect(again.traceId).not.toBe(first.traceId);
  api.close();
});

test('a submission that is refused ends its spans as failed', async () => {
  const client = newClient({ target: replica.target });
  await rejection(client.run('k', 1, { pool: uniquePool(), priority: 9 }));
  await until(() => ofKind(SpanKind.PRODUCER, 'muster.submit').length === 1);
  expect(ofKind(SpanKind.PRODUCER, 'muster.submit')[0]?.status.code).toBe(SpanStatusCode.ERROR);
});

const emptySpec = {
  metadata: {},
  priority: 0,
  notBefore: undefined,
  queueTimeout: undefined,
  runTimeout: undefined,
  totalTimeout: undefined,
  retry: undefined,
  retention: undefined,
};
