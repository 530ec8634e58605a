/**
 * Places between two lines that touch Redis or a worker, at which a replica can be told to end, to stop or to stand still, so that the
 * harness (`npm run chaos`) meets there what otherwise takes years. Each with what it proves when the replica ends there.
 */
export const FAILPOINTS = {
  'submit-reply':
    'Jobs are in Redis, perhaps matched; their client is not told. The same id again is the same job; `mine` or the lease bring its delivery.',
  'match-reply': 'Jobs were matched by a call for more. The leases are undelivered and come back.',
  'accept-reply': 'A hinted assignment was asked for and stands, and is not sent.',
  'assign-unsent': 'An assignment was read and is not sent: a handover, no attempt.',
  'confirm-before': 'Jobs were sent and run; Redis does not know that they were delivered. They go on where they are, under their fence.',
  'received-before': 'An attached worker said that a job arrived; Redis does not know.',
  'result-unfinished': 'A result came and was not given to Redis. The worker keeps it, or the attempt runs again.',
  'finish-reply': 'Results were accepted and next jobs taken; neither the client nor the worker is told.',
  'settle-before': 'A result was accepted, its worker is not told: it says it again and hears `duplicate`.',
  'release-before': 'A job could not be delivered and was not given back: its undelivered lease runs out.',
  'register-reply': 'A worker is on the roll, with jobs perhaps; there is no link to it.',
  'register-linked': 'The link to it is open; the worker is not told that it is registered.',
  'attach-reply': 'An attached worker is on the roll; there is no link over its stream, and what it holds nobody vouches for.',
  'attach-installed': 'Its link is installed; Welcome is not written.',
  'detach-before': 'A stream broke, and Redis is not told: its worker is found without a home, or attaches again.',
  'deregister-reply': 'A worker has left; it is not told.',
  'adopt-reply': 'This replica became the home of a worker without a link to it, and dies: another adopts it.',
  'bury-before': 'A worker was not reached by a check, and was not declared dead: the check is repeated.',
  'suspect-reply': 'A worker is suspect, and nobody was asked to check it: the search for orphans finds it.',
  'probed-before': 'A worker answered what it holds, and Redis is not told.',
  'beat-reply': 'Leases were kept; what the answer said of revoked ones is not read.',
  'orphans-page': 'Workers of a dead home were found, and their check is not asked for: the home is named again.',
  'forget-before': 'All orphans are being checked, the dead home is not forgotten: it is named again.',
  'sweep-taken': 'The one sweep of the cluster was taken by a replica that dies: it is repeated, or each replica looks by itself.',
  'check-taken': 'A check was taken by a replica that dies: it is repeated by another.',
  'tick-page': 'What was due was done in part.',
  'tick-reply': 'What was due was done; what was matched is undelivered, dead homes are not looked after.',
  'stop-left': 'A replica that stops has put its workers up for adoption, and dies before it is done.',
} as const satisfies Record<string, string>;

export type FailpointName = keyof typeof FAILPOINTS;

const ACTIONS = ['exit', 'stop', 'delay'] as const;

/**
 * `exit`: the process ends there. `stop`: it stops itself as by SIGSTOP, until somebody continues it. `delay`: nothing in it goes on for
 * `ms`.
 */
export interface Failpoint {
  name: FailpointName;
  action: (typeof ACTIONS)[number];
  /** Of a delay; 0 otherwise. */
  ms: number;
  /** At which passing it happens, from 1; once. */
  nth: number;
}

const MOST_MS = 600_000;
const MOST_NTH = 1_000_000;

/** Reads `name:exit|stop[:nth]` or `name:delay:ms[:nth]`. Throws an Error that says what is wrong with it. */
export function parseFailpoint(text: string): Failpoint {
  const [name = '', action = '', ...numbers] = text.split(':');
  if (!Object.hasOwn(FAILPOINTS, name)) throw new Error(`no failpoint "${name}"; there are ${Object.keys(FAILPOINTS).join(', ')}`);
  const known = ACTIONS.find((one) => one === action);
  if (known === undefined) throw new Error(`"${action}" is no action: exit, stop or delay`);
  const delays = known === 'delay';
  if (numbers.length > (delays ? 2 : 1)) throw new Error(`"${text}" has too many parts: name:exit[:nth], name:stop[:nth] or name:delay:ms[:nth]`);
  if (delays && numbers.length === 0) throw new Error('a delay needs its ms: name:delay:ms[:nth]');
  const ms = delays ? whole(numbers.shift() ?? '', 'ms', MOST_MS) : 0;
  const nth = numbers[0] === undefined ? 1 : whole(numbers[0], 'nth', MOST_NTH);
  return { name: name as FailpointName, action: known, ms, nth };
}

function whole(text: string, what: string, most: number): number {
  if (!/^[1-9]\d*$/.test(text) || Number(text) > most) throw new Error(`${what} "${text}" is not a whole number from 1 to ${most}`);
  return Number(text);
}

/**
 * Said where the place is. Unless the process was armed it is an empty function: nothing is looked up and nothing is compared.
 * It never waits: whatever happens, happens to the whole process.
 */
export let failpoint: (name: FailpointName) => void = () => {};

/** From now on `act` is called at that place, once. At the start of a process, and never in one that is not for tests. */
export function armFailpoint({ name, nth }: Failpoint, act: () => void): void {
  let left = nth;
  failpoint = (passed) => {
    if (passed === name && --left === 0) act();
  };
}

/** No place does anything any more. */
export function disarmFailpoint(): void {
  failpoint = () => {};
}
