import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { ownRedis } from '../helpers/redis.js';
import { Failed, Harness } from './harness.js';
import { sequence } from './intents.js';
import { Broken } from './invariants.js';

/** The properties would be worth nothing if a script that is wrong kept them. Each of these makes one line of Lua wrong. */
const mutations: { name: string; from: string; to: string }[] = [
  {
    name: 'finish does not check the fence',
    from: "if held == fence_ and j.state == 'running' and j.fence == fence_ then\n    verdict = 'accepted'",
    to: "if held and j.state == 'running' then\n    verdict = 'accepted'",
  },
  {
    name: 'finish takes a result as often as it comes',
    from: "verdict = 'duplicate'\n    again[worker] = w",
    to: "verdict = 'accepted'\n    terminal(j, 'succeeded', HOME)\n    free_slot(w, link)",
  },
  {
    name: 'a lease taken away frees the slot at once',
    from: "call('HSET', held_key(j.worker), j.id, '!' .. j.fence)",
    to: "call('HDEL', held_key(j.worker), j.id)",
  },
  { name: 'there is no grace after an outage', from: 'grace = NOW + OUTAGE_GRACE_MS', to: 'grace = 0' },
  {
    name: 'a lease that was not delivered is not queued again',
    from: 'if delay > 0 then schedule(j, NOW + delay) else enqueue(j, true) end\nend\nlocal function handover',
    to: 'end\nlocal function handover',
  },
  { name: 'finish does not check the boot', from: 'local held = w.boot == boot and held_fence(', to: 'local held = held_fence(' },
  {
    name: 'accept takes a hint whose lease has moved',
    from: "and j.fence == fence_\n    and call('HGET', held_key(worker), job) == fence_",
    to: '',
  },
  { name: 'accept does not ask whose worker it is', from: 'local valid = w.home == HOME and', to: 'local valid = w.home and' },
  { name: 'accept does not check the link', from: "(link == '' or w.link == link)", to: 'true' },
  {
    name: 'a lease over a quarantined slot takes another one',
    from: 'put_back(w, room - lease(j, w, fields))',
    to: 'lease(j, w, fields) put_back(w, room - 1)',
  },
  { name: 'an entry of the free list is put there twice', from: 'if not w.listed then', to: 'if true then' },
  { name: 'the fence does not grow while time stands still', from: 'fence = math.max(fence + 1, US)', to: 'fence = math.max(fence, US)' },
];

/** Fixed: what is tested here is the sequences' power, which must not depend on luck. */
const SEED = 1;
const MOST_SEQUENCES = 400;
const redis = await ownRedis();

for (const { name, from, to } of mutations) {
  for (const profile of ['plain', 'bounded'] as const) {
    const by = profile === 'plain' ? 'the model' : 'the properties alone';
    test(`${by} would notice that ${name}`, { timeout: 60_000 }, async () => {
      let changed = 0;
      const mutate = (source: string) => {
        if (source.includes(from)) changed++;
        return source.replaceAll(from, to);
      };
      const harness = await Harness.open(redis.url, [profile], mutate);
      const property = fc.asyncProperty(sequence, async (run) => void (await harness.sequence({ ...run, profile })));
      const { failed, errorInstance } = await fc.check(property, { seed: SEED, numRuns: MOST_SEQUENCES, endOnFailure: true });
      harness.close();
      expect(changed, 'scripts that the mutation changed').toBeGreaterThan(0);
      expect(failed).toBe(true);
      expect(errorInstance).toBeInstanceOf(Failed);
      expect((errorInstance as Failed).cause).toBeInstanceOf(Broken);
    });
  }
}
