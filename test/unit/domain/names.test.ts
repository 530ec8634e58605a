import { describe, expect, test } from 'vitest';
import { checkId } from '../../../src/domain/names.js';
import { keys } from '../../../src/store/keys.js';

describe('an id', () => {
  test.each(['a', '10.0.0.1:9000', 'a:b:c', 'payload', 'a-payload', 'a:payload-1', 'a:payload:1'])('%s is one', (id) => {
    expect(checkId(id, 'spec.id')).toBe(id);
  });

  const parts = [keys.payload, keys.metadata, keys.result, keys.error, keys.progress, keys.workerLabels, keys.workerKinds];
  const endings = parts.map((key) => key('p', 'x').slice(key('p', 'x').lastIndexOf(':') + 1));

  test.each(endings)('must not end as the names of other keys do: a:%s', (ending) => {
    expect(() => checkId(`a:${ending}`, 'spec.id')).toThrow(`spec.id: an id must not end in ":${ending}": write another separator`);
  });

  test('no key of one job or worker is another one’s', () => {
    expect(endings).toHaveLength(new Set(endings).size);
    for (const key of [keys.payload, keys.metadata, keys.result, keys.error, keys.progress])
      expect(key('p', 'a').startsWith(keys.job('p', 'a:'))).toBe(true);
    for (const key of [keys.workerLabels, keys.workerKinds]) expect(key('p', 'a').startsWith(keys.worker('p', 'a:'))).toBe(true);
  });
});
