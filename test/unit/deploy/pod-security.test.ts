import { describe, expect, test } from 'vitest';
import { allManifests, nameOf, objectsOf, podOf } from '../../helpers/manifests.js';
import { brokenRules, podFor, podRules } from '../../helpers/pod-security.js';

/** A namespace that enforces the restricted profile takes every pod of ours. */
const workloads = objectsOf(allManifests()).flatMap((manifest) => {
  const pod = podOf(manifest);
  return pod === undefined ? [] : [{ path: manifest.path, name: nameOf(manifest), pod }];
});

test('there are workloads to look at', () => {
  expect(workloads.map(({ name }) => name).sort()).toEqual(['muster', 'muster-redis', 'muster-worker']);
});

test.each(workloads)('$name ($path) keeps the restricted profile', ({ pod }) => {
  expect(brokenRules(pod)).toEqual([]);
});

test.each(workloads)('$name ($path) gets no token of the cluster, no variables of Services, and writes on no root', ({ name, pod }) => {
  expect(pod['automountServiceAccountToken']).toBe(false);
  if (name !== 'muster-redis') expect(pod['enableServiceLinks']).toBe(false);
  for (const container of pod['containers'] as unknown[]) {
    expect(container).toMatchObject({ securityContext: { readOnlyRootFilesystem: true }, resources: { requests: { memory: expect.any(String) } } });
  }
});

describe('the rules', () => {
  test('a pod that keeps them all breaks none', () => {
    expect(brokenRules(podFor())).toEqual([]);
  });

  test.each(podRules)('$name: can be broken, by itself', (rule) => {
    expect(brokenRules(podFor(rule)).map((complaint) => complaint.replace(/^.*?: /, ''))).toEqual([rule.name]);
  });
});
