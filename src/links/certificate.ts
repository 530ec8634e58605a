import { canonicalIp } from '../domain/ip.js';
import type { DialTarget } from '../domain/link.js';
import { splitSans } from '../domain/san.js';
import { formatAddress } from '../domain/worker.js';

/** Which worker a certificate may belong to. Pure. */
export type Wanted = Pick<DialTarget, 'ref' | 'address'>;

/** What a certificate says that it is that worker's by. */
const uriOf = (id: string) => ['muster', 'worker', id].join(':');

/** What is told of a certificate with hundreds of names. */
const SHOWN_CHARS = 200;

/**
 * Why a certificate with those names does not prove that its holder is that worker; undefined: it does. Its names must hold the IP that is
 * dialed, or the worker's id as a DNS name or as `URI:muster:worker:<id>`, in the very letters: wildcards and cases do not count. One that names
 * workers by URI is good for those alone, whatever else it holds: so neighbours at one IP cannot pose as each other.
 */
export function mismatch(subjectaltname: string | undefined, { ref, address }: Wanted): string | undefined {
  const sans = splitSans(subjectaltname);
  const names = (kind: string) => sans.filter((san) => san.startsWith(`${kind}:`)).map((san) => san.slice(kind.length + 1));
  const workers = names('URI').filter((uri) => uri.startsWith(uriOf('')));
  if (workers.length > 0 ? workers.includes(uriOf(ref.id)) : names('DNS').includes(ref.id)) return undefined;
  const ip = canonicalIp(address.ip);
  if (workers.length === 0 && names('IP Address').some((known) => canonicalIp(known) === ip)) return undefined;
  const has = subjectaltname === undefined || subjectaltname === '' ? 'no SANs' : `SANs ${subjectaltname.slice(0, SHOWN_CHARS)}`;
  return `certificate of ${formatAddress(address)} has ${has}, wanted URI:${uriOf(ref.id)}, DNS:${ref.id} or IP Address:${ip}`;
}
