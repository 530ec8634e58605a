import { expect, test } from 'vitest';
import type { Assignment } from '../../../src/domain/job.js';
import type { Dialer, LinkEvents } from '../../../src/domain/link.js';
import { UNOBSERVED } from '../../../src/domain/observer.js';
import { FleetLinks } from '../../../src/fleet/links.js';
import { Running } from '../../../src/jobs/running.js';
import { AttachedLink, type AttachedStream } from '../../../src/links/attached.js';
import { LinkTable } from '../../../src/links/table.js';
import { FakeClock } from '../../helpers/fake-clock.js';

const REF = { pool: 'p', id: 'w', boot: 'b', link: '1' };
const LEASE = { pool: 'p', worker: 'w', boot: 'b', jobId: 'j', fence: '7' };

function fleet() {
  const told: string[] = [];
  const stream: AttachedStream = {
    assign: (assignment: Assignment) => void told.push(`assign ${assignment.jobId}`),
    cancel: (jobId) => void told.push(`cancel ${jobId}`),
    settled: (jobId, _fence, verdict) => void told.push(`settled ${jobId} ${verdict}`),
    revoke: (jobId) => void told.push(`revoke ${jobId}`),
    reattach: (reason) => void told.push(`reattach ${reason}`),
    ping: () => void told.push('ping'),
    overfull: false,
    resultTaken: () => undefined,
    resultSettled: () => undefined,
    end: () => void told.push('end'),
  };
  const events: LinkEvents = { delivered: () => undefined, heard: () => undefined, closed: () => undefined };
  const options = { clock: new FakeClock(), maxUnsettled: 8, settleMs: 5, maxFrameBytes: 4_194_304, onGuess: () => undefined };
  const link = new AttachedLink(REF, stream, events, options);
  const links = new FleetLinks({ table: new LinkTable(8), dialer: {} as Dialer, events, running: new Running(), observer: UNOBSERVED });
  links.install(link, 4);
  return { links, link, told };
}

test('a link that is not ours any more sends its worker on, waits for what is unsettled on it, and then ends', () => {
  const { links, link, told } = fleet();
  link.result('j', '7', { ok: true, output: Buffer.alloc(0) });
  links.release(REF);
  links.sweepRetired();
  expect(told).toEqual(['reattach moved']);
  expect(links.openCalls).toBe(1);
  links.settled({ ...LEASE, fence: '8' }, 'accepted');
  links.settled({ ...LEASE, boot: 'another incarnation' }, 'accepted');
  expect(links.openCalls).toBe(1);
  links.settled(LEASE, 'gone');
  links.sweepRetired();
  expect(told).toEqual(['reattach moved', 'settled j gone', 'end']);
  expect(links.openCalls).toBe(0);
});

test('one on which nothing is outstanding ends at once', () => {
  const { links, told } = fleet();
  links.release(REF);
  expect(told).toEqual(['end']);
});
