import type { Config } from '../config.js';
import { judgeDurability, refusesToStart } from '../domain/durability.js';
import { SCHEMA } from '../store/schema.js';
import type { Survey } from '../store/survey.js';

export interface Diagnosis {
  check: string;
  /** `warn`: it works, and something should be done. `error`: it does not work, or will not for long. */
  level: 'ok' | 'warn' | 'error';
  /** One sentence. */
  what: string;
  /** What to do; '' for nothing. */
  remedy: string;
}

const REDIS_MAJOR = 7;
/** Parts of the memory that Redis may use. */
const MEMORY = { warn: 0.75, error: 0.9 };
/** Times in records are Redis' own, so a skew hurts nobody but those who compare; delayed starts are by the clocks of clients. */
const SKEW_MAX_MS = 1_000;
/** After so many intervals without a sweep the replicas look after their own workers. */
const SILENT_INTERVALS = 3;
/** A replica with more links than so many times the mean asks attached workers to move. */
const CROWDED = 1.2;

type Said = Omit<Diagnosis, 'check'>;
const ok = (what: string, remedy = ''): Said => ({ level: 'ok', what, remedy });
const warn = (what: string, remedy: string): Said => ({ level: 'warn', what, remedy });
const error = (what: string, remedy: string): Said => ({ level: 'error', what, remedy });

export interface Examined {
  survey: Survey;
  /** How many invariants are broken. */
  broken: number;
  config: Pick<Config, 'DURABILITY' | 'DURABILITY_UNCHECKED' | 'HEALTH_INTERVAL_MS'>;
}

/** What is well and what is not, each with its remedy. Every check says something. */
export function diagnose({ survey, broken, config }: Examined): Diagnosis[] {
  const checks: [string, Said[]][] = [
    ['redis version', [version(survey)]],
    ['durability', [durability(survey, config)]],
    ['eviction', [eviction(survey)]],
    ['memory', [memory(survey)]],
    ['clock', [clock(survey)]],
    ['schema', [schema(survey)]],
    ['replicas', replicas(survey)],
    ['scheduler', [scheduler(survey, config)]],
    ['links', links(survey)],
    ['pools', pools(survey)],
    ['dead letters', deadLetters(survey)],
    ['invariants', [invariants(broken)]],
  ];
  return checks.flatMap(([check, said]) => said.map((one) => ({ check, ...one })));
}

function version({ version }: Survey): Said {
  if (version === '')
    return warn('Redis does not tell its version', 'see for yourself that it is Redis 7.0 or newer, or Valkey; or let its user ask (INFO)');
  const old = Number(version.split('.')[0]) < REDIS_MAJOR;
  return old ? error(`Redis ${version} knows no scripts with flags`, 'run Redis 7.0 or newer, or Valkey') : ok(`Redis ${version}`);
}

function durability({ persistence }: Survey, { DURABILITY, DURABILITY_UNCHECKED }: Examined['config']): Said {
  const found = judgeDurability(DURABILITY, persistence);
  const said = `MUSTER_DURABILITY is ${DURABILITY}; ${found.what}`;
  if (found.verdict === 'met') return ok(said);
  return (refusesToStart(DURABILITY, found, DURABILITY_UNCHECKED) ? error : warn)(said, found.remedy);
}

function eviction({ evictionPolicy }: Survey): Said {
  if (evictionPolicy === 'noeviction') return ok('Redis evicts nothing');
  if (evictionPolicy === '') return warn('Redis does not tell its maxmemory-policy', 'see for yourself that it is noeviction');
  return error(`maxmemory-policy is ${evictionPolicy}: a full Redis forgets jobs`, 'set maxmemory-policy noeviction in Redis');
}

function memory({ usedBytes, roomBytes }: Survey): Said {
  if (usedBytes === 0) return ok('Redis does not tell');
  if (roomBytes === 0) return ok(`${megabytes(usedBytes)} used; Redis does not tell of how many`);
  const part = usedBytes / roomBytes;
  const what = `${megabytes(usedBytes)} of ${megabytes(roomBytes)} used (${Math.round(100 * part)} %)`;
  const remedy = 'raise maxmemory, keep finished jobs for less long (MUSTER_RETENTION_MS), or `muster purge`';
  if (part >= MEMORY.error) return error(`${what}: submissions are refused when it is full`, remedy);
  return part >= MEMORY.warn ? warn(what, remedy) : ok(what);
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 2 ** 20)} MiB`;
}

function clock({ skewMs, skewErrorMs }: Survey): Said {
  const what = `the clock of Redis is ${Math.abs(skewMs)} ms ${skewMs < 0 ? 'behind' : 'ahead of'} the one here, give or take ${skewErrorMs} ms`;
  if (Math.abs(skewMs) - skewErrorMs <= SKEW_MAX_MS) return ok(what);
  return warn(`${what}; more than ${SKEW_MAX_MS} ms`, 'let both machines keep their time by NTP');
}

function schema({ schema }: Survey): Said {
  if (schema === undefined) return warn('no replica has ever started here', '`muster serve` starts one; or is --redis-url another Redis?');
  if (schema === SCHEMA) return ok(`schema ${schema}, as this build has it`);
  const what = `the keys are of schema ${schema}, this build has ${SCHEMA}`;
  if (Math.abs(schema - SCHEMA) === 1) return warn(`${what}: they can work together`, 'bring all replicas to one version');
  return error(what, 'run a build whose schema is at most one away');
}

function replicas({ replicas, silent }: Survey): Said[] {
  const live = replicas.filter(({ draining }) => !draining);
  const said: Said[] = [];
  if (live.length === 0) said.push(error('no replica is alive', '`muster serve` starts one'));
  else said.push(ok(`${live.length} alive${replicas.length > live.length ? `, ${replicas.length - live.length} stopping` : ''}`));
  const versions = [...new Set(replicas.map(({ version }) => version))].sort();
  if (versions.length > 1)
    said.push(warn(`they are of several versions: ${versions.join(', ')}`, 'end the rolling update, or bring all to one version'));
  if (silent.length > 0)
    said.push(warn(`ended without saying so, or cut off: ${silent.join(', ')}`, 'look at their logs; others have their workers'));
  return said;
}

function scheduler({ sweptAgoMs, replicas }: Survey, { HEALTH_INTERVAL_MS }: Examined['config']): Said {
  if (replicas.length === 0) return ok('no replica is alive to sweep');
  const remedy = 'look for BullMQ in the logs of the replicas; each looks after its own workers meanwhile';
  if (sweptAgoMs === undefined) return warn('there was no health sweep yet', `wait for ${HEALTH_INTERVAL_MS} ms, then ${remedy}`);
  const what = `the last health sweep was ${Math.max(0, Math.round(sweptAgoMs / 1_000))} s ago`;
  return sweptAgoMs > SILENT_INTERVALS * HEALTH_INTERVAL_MS ? warn(`${what}, they are due every ${HEALTH_INTERVAL_MS} ms`, remedy) : ok(what);
}

function links({ replicas }: Survey): Said[] {
  const live = replicas.filter(({ draining }) => !draining);
  const sum = live.reduce((all, { links }) => all + links, 0);
  const mean = sum / Math.max(1, live.length);
  const crowded = live.filter(({ links }) => links > Math.max(CROWDED * mean, mean + 1));
  if (crowded.length === 0) return [ok(`${sum} links to workers, ${Math.round(10 * mean) / 10} a replica`)];
  const remedy = 'attached workers move by themselves; let dialed ones register through a balancer';
  return crowded.map(({ id, links }) => warn(`${id} has ${links} links, the mean is ${Math.round(10 * mean) / 10}`, remedy));
}

function pools({ pools }: Survey): Said[] {
  const stuck = pools.filter(({ waiting, workers }) => waiting > 0 && workers === 0);
  if (stuck.length === 0) return [ok(`${pools.length} pools, no jobs without workers`)];
  return stuck.map(({ name, waiting }) =>
    warn(
      `${waiting} jobs wait in pool ${name}, which has no live worker`,
      `start workers for ${name}, or \`muster purge --pool ${name} --queued --yes\``,
    ),
  );
}

function deadLetters({ pools }: Survey): Said[] {
  const some = pools.filter(({ buried }) => buried > 0);
  if (some.length === 0) return [ok('none')];
  return some.map(({ name, buried }) => ok(`${buried} in pool ${name}`, `\`muster get jobs --pool ${name} --state failed\` shows them`));
}

function invariants(broken: number): Said {
  return broken === 0 ? ok('none is broken') : error(`${broken} broken`, '`muster audit` lists them');
}
