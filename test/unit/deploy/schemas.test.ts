import { expect, test } from 'vitest';
import { allManifests, nameOf, objectsOf, only } from '../../helpers/manifests.js';
import { schemaFaults } from '../../helpers/schemas.js';

/** Every object is what the API server of its kind takes: types, required fields, words, and no field that it does not know. */
const objects = objectsOf(allManifests());
const titled = objects.map((manifest) => ({ ...manifest, title: `${manifest.tree['kind']} ${nameOf(manifest)} (${manifest.path})` }));

test.each(titled)('$title', (manifest) => {
  expect(schemaFaults(manifest)).toEqual([]);
});

const deployment = only(objects, 'Deployment', 'muster') as { spec: object; apiVersion: string; kind: string };
const withSpec = (spec: object) => schemaFaults({ path: '', tree: { ...deployment, spec: { ...deployment.spec, ...spec } } });

test.each([
  ['a wrong type', { replicas: 'three' }, /replicas.*integer/],
  ['a field that is missing', { selector: undefined }, /selector/],
  ['a field that there is not', { replica: 3 }, /^\/spec\/replica: there is no such field$/],
  ['one deep inside', { strategy: { rollingUpdate: { maxSurges: 1 } } }, /^\/spec\/strategy\/rollingUpdate\/maxSurges: there is no such field$/],
])('%s is found', (_, spec, said) => {
  expect(withSpec(spec)).toEqual([expect.stringMatching(said)]);
});

test('a kind without a schema is no object of ours', () => {
  expect(schemaFaults({ path: '', tree: { apiVersion: 'v1', kind: 'Pood' } })).toEqual(['no schema for v1 Pood: add it to MODELS']);
});
