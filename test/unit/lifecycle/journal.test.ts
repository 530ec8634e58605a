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
