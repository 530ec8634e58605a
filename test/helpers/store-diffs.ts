/** Parts of what `TestPool.diff` answers that many tests expect. Times in ms after T0. */
type Diff = Record<string, string>;

/** A waiting job's first attempt began. */
export const started = (job: string, worker: string, fence: string, at = 0): Diff => ({
  [`held:${worker}.${job}`]: `+ ${fence}`,
  [`job:${job}.attempt`]: '0 → 1',
  [`job:${job}.delivered`]: '+ 0',
  [`job:${job}.fence`]: `+ ${fence}`,
  [`job:${job}.started`]: `+ t+${at}`,
  [`job:${job}.state`]: 'waiting → running',
  [`job:${job}.worker`]: `+ ${worker}`,
  [`leases.${job}`]: `+ t+${at + 5_000}`,
});

/** A worker's last free slot was taken. */
export const full = (worker: string): Diff => ({ [`worker:${worker}.listed`]: '1 → 0', [`worker:${worker}.state`]: 'free → busy' });

/** A worker without room has some. */
export const roomy = (worker: string): Diff => ({ [`worker:${worker}.listed`]: '0 → 1', [`worker:${worker}.state`]: 'busy → free' });

/** A lease is gone, and its slot with it. */
export const unleased = (job: string, worker: string, fence: string, look = 30_000): Diff => ({
  [`held:${worker}.${job}`]: `- ${fence}`,
  [`leases.${job}`]: `- t+${look}`,
});

/** A lease was taken away, and its slot stays taken. */
export const quarantined = (job: string, worker: string, fence: string, look = 30_000): Diff => ({
  [`held:${worker}.${job}`]: `${fence} → !${fence}`,
  [`leases.${job}`]: `- t+${look}`,
});

/** A job ended and is no dead letter. */
export const ended = (job: string, state: string, at: number, from = 'running'): Diff => ({
  [`finished.${job}`]: `+ t+${at}`,
  [`job:${job}.finished`]: `+ t+${at}`,
  [`job:${job}.state`]: `${from} → ${state}`,
  [`ttl job:${job}`]: '+ 3600 s',
  [`meta.${state}`]: '+ 1',
});

/** A job became a dead letter. `error`: as the dump writes it. */
export const buried = (job: string, error: string, at: number, from = 'running'): Diff => ({
  [`buried.${job}`]: `+ t+${at}`,
  [`job:${job}.finished`]: `+ t+${at}`,
  [`job:${job}.state`]: `${from} → failed`,
  [`job:${job}:error`]: `+ ${error}`,
  [`ttl job:${job}`]: '+ 604800 s',
  [`ttl job:${job}:error`]: '+ 604800 s',
  'meta.failed': '+ 1',
});

/** An attempt was spent: again at `next`. */
export const backsOff = (job: string, error: string, next: number): Diff => ({
  [`job:${job}.next`]: `+ t+${next}`,
  [`job:${job}.state`]: 'running → scheduled',
  [`job:${job}:error`]: `+ ${error}`,
  [`later.${job}`]: `+ t+${next}`,
  [`ttl job:${job}:error`]: '+ 604800 s',
  'meta.retried': '+ 1',
});
