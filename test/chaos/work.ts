/** What the jobs of the chaos are beside `slow`, which takes its payload's number of ms and answers it. */

/** Ends the worker that begins it. */
export const POISON = 'poison';
/** Begun, and never ended or answered by its worker, which is well otherwise. */
export const NEVER = 'never';
/** Within what replicas take, and beyond what some workers do; who takes it answers it at once. */
export const LARGE = 'large';

/** A job that never ends is given so long. Workers know it by this number: their SDK would keep the time for them. */
export const NEVER_RUN_MS = 1_501;

const MAX_ATTEMPTS: Readonly<Record<string, number>> = { [POISON]: 3, [NEVER]: 1 };
const USUAL_ATTEMPTS = 10;

/** As the job's retry policy says. */
export const maxAttempts = (kind: string): number => MAX_ATTEMPTS[kind] ?? USUAL_ATTEMPTS;

/** A failure for good is in order after so many: nobody tries again what no worker can take. */
export const failsAfter = (kind: string): number => (kind === LARGE ? 1 : maxAttempts(kind));
