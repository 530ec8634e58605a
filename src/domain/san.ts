import { createHash } from 'node:crypto';
import { type Identity, MAX_NAME_BYTES, ROLES, type Role } from './identity.js';

/** Which certificates have a role: `worker=URI:spiffe://prod/ns/workers/*`. */
export interface RolePattern {
  role: Role;
  /** As it was written. */
  text: string;
  matches(san: string): boolean;
}

const PATTERN = /^(?<role>[a-z]+)=(?<type>DNS|URI):(?<value>[\x21-\x7e]+)$/;

/** `*` stands for one whole label of a DNS name, or one whole segment of a URI (between `/` and `:`). Throws an Error that says what is wrong. */
export function parseRolePattern(text: string): RolePattern {
  const { role, type, value = '' } = PATTERN.exec(text)?.groups ?? {};
  if (type === undefined) throw new Error(`"${text}" is none: write role=DNS:name or role=URI:uri, such as worker=DNS:*.workers.example`);
  const known = ROLES.find((one) => one === role);
  if (known === undefined) throw new Error(`"${text}" gives the role ${role}: there are ${ROLES.join(', ')}`);
  const dns = type === 'DNS';
  const parts = (dns ? value.toLowerCase() : value).split(dns ? /(\.)/ : /([/:])/);
  if (parts.some((part) => part.includes('*') && part !== '*')) {
    throw new Error(`"${text}" has a * within a name: it stands for one whole ${dns ? 'label' : 'segment'}`);
  }
  const any = dns ? '[^.]+' : '[^/:?#]+';
  const shape = new RegExp(`^${type}:${parts.map((part) => (part === '*' ? any : escaped(part))).join('')}$`);
  return { role: known, text, matches: (san) => shape.test(dns ? san.replace(/(?<=^DNS:).*/, (name) => name.toLowerCase()) : san) };
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/-]/g, '\\$&');
}

/** `DNS:a`, `URI:"a, b"`; what holds a comma or a quote is quoted as JSON is. */
const ENTRY = /([A-Za-z0-9 ]+):("(?:[^"\\]|\\.)*"|[^,"]*)(?:, |$)/y;

/** The names in a certificate, `TYPE:value` each, out of Node's `subjectaltname`. None, when it cannot be read to its end. */
export function splitSans(text: string | undefined): string[] {
  const sans: string[] = [];
  let at = 0;
  while (text !== undefined && at < text.length) {
    ENTRY.lastIndex = at;
    const [whole, type, value] = ENTRY.exec(text) ?? [];
    if (whole === undefined || value === undefined) return [];
    at = ENTRY.lastIndex;
    sans.push(`${type}:${value.startsWith('"') ? unquoted(value) : value}`);
  }
  return sans;
}

function unquoted(value: string): string {
  try {
    return String(JSON.parse(value));
  } catch {
    // What is no name fits no pattern.
    return '';
  }
}

/** Whose certificate that is: the first pattern that one of its names fits decides, and the name is what it is called. undefined: nobody's. */
export function identityOfSans(sans: readonly string[], patterns: readonly RolePattern[]): Identity | undefined {
  for (const { role, matches } of patterns) {
    const san = sans.find((one) => /^[\x21-\x7e]+$/.test(one) && matches(one));
    if (san !== undefined) return { name: shortened(san), role, pools: undefined };
  }
  return undefined;
}

const DIGEST_CHARS = 16;

function shortened(san: string): string {
  if (san.length <= MAX_NAME_BYTES) return san;
  return `${san.slice(0, MAX_NAME_BYTES - DIGEST_CHARS - 1)}~${createHash('sha256').update(san).digest('hex').slice(0, DIGEST_CHARS)}`;
}
