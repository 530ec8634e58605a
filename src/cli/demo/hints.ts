import { basename, relative } from 'node:path';
import { findRedisBinary } from '../../lifecycle/embedded-redis.js';
import { type Fleet, HASH_POOL, targetOf } from './fleet.js';

/** What to type next, with the real addresses and names: the fleet stays up until Ctrl-C. */
export function hints(fleet: Fleet, path: string): string[] {
  const muster = thisProgram();
  const target = `--target ${targetOf(fleet.replicas.filter(({ child }) => child.running))}`;
  const redis = `${basename(findRedisBinary()).replace('server', 'cli')} -p ${fleet.redisPort}`;
  const worker = fleet.workers.find(({ child, pool }) => child.running && pool === HASH_POOL)?.id ?? '';
  return [
    'All of it is still running; Ctrl-C stops it. In another terminal:',
    `  ${muster} get workers ${target} --pool ${HASH_POOL}`,
    `  ${muster} get pools ${target}`,
    `  ${muster} run ${target} --pool ${HASH_POOL} --kind sha256 --data ${quoted(path)}`,
    `  ${muster} drain ${target} --pool ${HASH_POOL} ${worker}`,
    'and what Redis holds (names are for people):',
    `  ${redis} SMEMBERS muster:pools`,
    `  ${redis} LRANGE muster:{${HASH_POOL}}:free 0 -1`,
    `  ${redis} HGETALL muster:{${HASH_POOL}}:worker:${worker}`,
    `  ${redis} ZRANGE muster:{${HASH_POOL}}:leases 0 -1 WITHSCORES`,
    `  ${redis} XREVRANGE muster:{${HASH_POOL}}:events + - COUNT 5`,
  ];
}

/** How this program was called, so that it can be called again. */
function thisProgram(): string {
  const script = process.argv[1] ?? '';
  if (basename(script) === 'muster') return 'muster';
  return ['node', ...process.execArgv, quoted(relative(process.cwd(), script) || script)].join(' ');
}

function quoted(word: string): string {
  return /^[\w./@:=+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
