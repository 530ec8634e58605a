import { expect, test } from 'vitest';
import { systemClock } from '../../../src/domain/clock.js';
import type { Link } from '../../../src/domain/link.js';
import { Attacher, type AttacherOptions } from '../../../src/fleet/attacher.js';
import { Running } from '../../../src/jobs/running.js';

const linkOf = (epoch: string) => ({ ref: { pool: 'p', id: 'w', boot: 'b', link: epoch } }) as Link;

/** The stream of `ended` is gone while the worker's link is `there`. Answers with what was done about it. */
async function detached(ended: Link, there: Link | undefined): Promise<string[]> {
  const done: string[] = [];
  const options = {
    clock: systemClock,
    running: new Running(),
    confirm: async () => undefined,
    links: { get: () => there, release: () => done.push('release') },
    matching: { call: async () => done.push('detach') },
    onError: (error: unknown) => done.push(String(error)),
  };
  await new Attacher(options as unknown as AttacherOptions).detached(ended, 'broken');
  return done;
}

test("the end of a worker's stream is told", async () => {
  const link = linkOf('1');
  expect(await detached(link, link)).toEqual(['release', 'detach']);
  expect(await detached(link, undefined)).toEqual(['release', 'detach']);
});

test('one that was replaced is left to the comparison of epochs, unless a Redis that lost its data gave the same epoch again', async () => {
  expect(await detached(linkOf('1'), linkOf('2'))).toEqual(['release', 'detach']);
  expect(await detached(linkOf('1'), linkOf('1'))).toEqual([]);
});
