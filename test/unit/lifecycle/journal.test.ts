import { Writable } from 'node:stream';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { journal } from '../../../src/lifecycle/journal.js';
import { FakeClock } from '../../helpers/fake-clock.js';

function setUp(level: string) {
  const lines: Record<string, unknown>[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(JSON.parse(chunk.toString()) as Record<string, unknown>);
      done();
    },
  });
  const clock = new FakeClock();
  const observer = journal(pino({ level }, sink), clock);
  const die = (worker: string, reason = 'silent') => observer.happened('p', { kind: 'worker.dead', subject: worker, fields: { reason } });
  return { lines, clock, observer, die };
}

test('a fleet that dies at once leaves so many lines, and when the second is over how many more there were', async () => {
  const { lines, clock, die } = setUp('info');
  for (let i = 0; i < 80; i++) die(`w${i}`);
  expect(lines).toHaveLength(50);
  expect(lines[0]).toMatchObject({ level: 40, pool: 'p', worker: 'w0', reason: 'silent', msg: 'worker dead' });
  await clock.pass(1_000);
  die('late');
  expect(lines.slice(50)).toMatchObject([{ unsaid: 30, msg: 'worker dead' }, { worker: 'late' }]);
});

test('a worker that left by its own wish is no warning, and a kind that nobody wants to read leaves no line', () => {
  const { lines, observer, die } = setUp('info');
  die('w1', 'deregistered');
  observer.happened('p', { kind: 'admin.something', subject: 'x', fields: {} });
  observer.happened('p', { kind: 'worker.registered', subject: 'w2', fields: {} });
  expect(lines).toMatchObject([{ level: 30, worker: 'w1', reason: 'deregistered' }]);
});

test('what a script says of its subject does not take the place of who is meant', () => {
  const { lines, observer } = setUp('info');
  observer.happened('p', { kind: 'job.buried', subject: 'j1', fields: { job: 'other', pool: 'other', reason: 'bad' } });
  expect(lines).toMatchObject([{ pool: 'p', job: 'j1', reason: 'bad' }]);
});

test('at info nothing is asked for each job', () => {
  const { observer, lines } = setUp('info');
  expect(observer.submitting({} as never)).toBeUndefined();
  observer.assigned({} as never);
  observer.ended({} as never, {} as never);
  expect(lines).toEqual([]);
});

test('a flood of connections that are turned away is a line a listener, reason and 5 s, with how many there were', async () => {
  const { lines, clock, observer } = setUp('info');
  for (let i = 0; i < 3_000; i++) observer.turnedAway('grpc', 'full', '192.0.2.1');
  observer.turnedAway('legacy', 'silent', '192.0.2.2');
  await clock.pass(5_000);
  observer.turnedAway('grpc', 'full', '192.0.2.3');
  expect(lines).toMatchObject([
    { level: 40, listener: 'grpc', reason: 'full', peer: '192.0.2.1', times: 1, msg: expect.stringContaining('MAX_CONNECTIONS') },
    { level: 40, listener: 'legacy', reason: 'silent', times: 1, msg: expect.stringContaining('PREFACE_MS') },
    { level: 40, listener: 'grpc', reason: 'full', peer: '192.0.2.3', times: 3_000 },
  ]);
});

test('a certificate with less than 14 days left is warned of when it is read, and one that has expired as such', () => {
  const { lines, clock, observer } = setUp('info');
  const days = 86_400_000;
  observer.certificate('server', clock.now() + 14 * days);
  expect(lines).toEqual([]);
  observer.certificate('dial', clock.now() + 14 * days - 1);
  observer.certificate('server', clock.now() - 1);
  expect(lines).toMatchObject([
    { level: 40, setting: 'DIAL_CERT', expires: new Date(clock.now() + 14 * days - 1).toISOString(), msg: expect.stringContaining('expires soon') },
    { level: 40, setting: 'TLS_CERT', msg: expect.stringContaining('has expired') },
  ]);
});
