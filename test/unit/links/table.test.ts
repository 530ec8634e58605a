import { describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/domain/clock.js';
import type { Link } from '../../../src/domain/link.js';
import { GrpcDialer } from '../../../src/links/dialer.js';
import { LinkTable } from '../../../src/links/table.js';

const dialer = new GrpcDialer({ clock: systemClock, maxResultBytes: 1, maxPayloadBytes: 1, pingTimeoutMs: 1 });

/** A real link; it does not connect unless it is used. */
function linkOf(id: string, link = '1', pool = 'p', boot = 'b'): Link {
  const events = { delivered: () => undefined, heard: () => undefined, closed: () => undefined };
  return dialer.dial({ ref: { pool, id, boot, link }, address: { ip: '127.0.0.1', port: 9 }, contract: 'RUNNER', slots: 1 }, events);
}

describe('the table of links', () => {
  it('keeps one link a worker, by pool and id', () => {
    const table = new LinkTable(10);
    const links = [linkOf('a'), linkOf('b'), linkOf('a', '1', 'q')];
    for (const link of links) expect(table.set(link)).toBeUndefined();
    expect(table.all()).toEqual(links);
    expect(table.size).toBe(3);
    expect(table.get('q', 'a')).toBe(links[2]);
    expect(table.get('q', 'b')).toBeUndefined();
  });

  it('hands out the link that another replaces, but not when it is the same', () => {
    const table = new LinkTable(1);
    const first = linkOf('a');
    const second = linkOf('a', '2');
    expect(table.set(first)).toBeUndefined();
    expect(table.set(first)).toBeUndefined();
    expect(table.set(second)).toBe(first);
    expect(table.get('p', 'a')).toBe(second);
  });

  it('removes only the link of that boot and epoch', () => {
    const table = new LinkTable(1);
    const link = linkOf('a', '2');
    table.set(link);
    expect(table.remove({ ...link.ref, link: '1' })).toBeUndefined();
    expect(table.remove({ ...link.ref, boot: 'other' })).toBeUndefined();
    expect(table.remove({ ...link.ref, id: 'b' })).toBeUndefined();
    expect(table.size).toBe(1);
    expect(table.remove({ ...link.ref })).toBe(link);
    expect(table.size).toBe(0);
  });

  it('holds MAX_LINKS and refuses one more, but takes a replacement', () => {
    const table = new LinkTable(2);
    table.set(linkOf('a'));
    const second = linkOf('b');
    table.set(second);
    expect(() => table.set(linkOf('c'))).toThrow(expect.objectContaining({ code: 'resource_exhausted', reason: 'TOO_MANY_LINKS' }));
    expect(table.get('p', 'c')).toBeUndefined();
    expect(table.set(linkOf('b', '2'))).toBe(second);
    expect(table.size).toBe(2);
  });

  it('gives all out when it is cleared', () => {
    const table = new LinkTable(2);
    const links = [linkOf('a'), linkOf('b')];
    for (const link of links) table.set(link);
    expect(table.clear()).toEqual(links);
    expect(table.size).toBe(0);
    expect(table.clear()).toEqual([]);
  });
});
