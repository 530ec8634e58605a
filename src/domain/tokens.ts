import { createHash, randomBytes } from 'node:crypto';
import { type Identity, ROLES, type Role, sameIdentity } from './identity.js';
import { checkPool } from './names.js';

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const HASH = /^sha256:([0-9a-f]{64})$/;
const SECRET_BYTES = 32;
/** So that scanners of repositories and logs know one when they see it. */
const PREFIX = 'mst_';

/** Tokens by the hash of their secret, in hex: the secrets themselves are nowhere. */
export type Tokens = ReadonlyMap<string, Identity>;

/** A new secret: 256 bits. */
export function newSecret(): string {
  return PREFIX + randomBytes(SECRET_BYTES).toString('base64url');
}

/** SHA-256 in hex. A secret of 256 random bits needs no slower one: nobody can guess it either way. */
export function hashOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}

/** The line of the tokens file under which a secret is known. Throws an Error that says what is wrong with the name or a pool. */
export function tokenLine({ name, role, pools = [] }: { name: string; role: Role; pools?: readonly string[] }, secret: string): string {
  if (/\s/.test([name, ...pools].join())) throw new Error('names hold no spaces');
  const line = [role, name, `sha256:${hashOf(secret)}`, ...(pools.length > 0 ? [`pools=${pools.join(',')}`] : [])].join(' ');
  parseLine(line);
  return line;
}

/**
 * Reads a tokens file: a line each, `role name sha256:HEX [pools=a,b]`; blank lines and those that begin with # are left out. A name may stand on
 * several lines, with different hashes, while its secret is exchanged. Throws an Error that names the line, never what stands on it.
 */
export function parseTokens(text: string): Tokens {
  const tokens = new Map<string, Identity>();
  const byName = new Map<string, Identity>();
  for (const [i, line] of text.split('\n').entries()) {
    const words = line.trim();
    if (words === '' || words.startsWith('#')) continue;
    try {
      const { hash, identity } = parseLine(words);
      if (tokens.has(hash)) throw new Error('this hash stands on an earlier line: a secret is one token');
      const before = byName.get(identity.name);
      if (before && !sameIdentity(before, identity)) throw new Error('an earlier line gives the same name another role or other pools');
      tokens.set(hash, identity);
      byName.set(identity.name, identity);
    } catch (error) {
      throw new Error(`line ${i + 1}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (tokens.size === 0) throw new Error('there is no token in it: `muster token create` makes one');
  return tokens;
}

/** Whatever stands in the place of a hash may be a secret that somebody put there: no message repeats it. */
function parseLine(line: string): { hash: string; identity: Identity } {
  const [role, name = '', hash = '', ...more] = line.split(/\s+/);
  const known = ROLES.find((one) => one === role);
  if (known === undefined) throw new Error(`the first word must be a role: ${ROLES.join(', ')}`);
  if (!NAME.test(name))
    throw new Error('the second word must be a name: 1 to 63 of letters, digits, ".", "_" and "-", beginning with a letter or digit');
  const [, hex] = HASH.exec(hash) ?? [];
  if (hex === undefined) throw new Error('the third word must be sha256: and 64 hex digits in lower case, never the secret itself');
  const [list, ...surplus] = more;
  if (surplus.length > 0 || (list !== undefined && !list.startsWith('pools=')))
    throw new Error('after the hash there may be pools=a,b and nothing else');
  if (list !== undefined && known === 'admin') throw new Error('an admin is one of all pools: pools= is for workers and clients');
  return { hash: hex, identity: { name, role: known, pools: list === undefined ? undefined : poolsOf(list.slice('pools='.length)) } };
}

function poolsOf(list: string): ReadonlySet<string> {
  const pools = list.split(',');
  if (pools.includes('')) throw new Error('pools= needs names, with a comma between two');
  return new Set(pools.map((pool) => checkPool(pool, 'pools')));
}
