import type { Command } from 'commander';
import type { Api } from '../../sdk/connect.js';
import { type Job, JobState, WorkerState } from '../../sdk/messages.js';
import { ask, callingOptions, example, present, printJson, withApi } from '../common.js';
import { Ended, Exit, usage } from '../exit.js';
import type { Io } from '../io.js';
import { DESCRIPTORS, getMethods, type JsonOptions } from '../method.js';
import { didYouMean, parseCount, parseWord } from '../parse.js';
import { JOB_STATES, plainJob, plainPool, plainReplica, plainWorker, WORKER_STATES } from '../plain.js';
import { jobSheet, jobTable, poolTable, replicaTable, workerSheet, workerTable } from '../views.js';

const KINDS = ['jobs', 'workers', 'pools', 'replicas', 'methods'] as const;
type Kind = (typeof KINDS)[number];

interface GetOptions extends JsonOptions {
  state?: string;
  limit: number;
  allPools?: true;
}

export function addGet(program: Command, io: Io): void {
  const get = callingOptions(program.command('get').description('Show jobs, workers, pools, replicas or methods, or one of them'), io)
    .argument('<kind>', KINDS.join(', '), parseKind)
    .argument('[id]', 'one job, worker, pool, replica or method')
    .option('--state <state>', 'only jobs or workers in that state')
    .option('--limit <count>', 'so many at the most', parseCount('--limit', 1, 100_000), 200)
    .option('-A, --all-pools', 'jobs or workers of all pools')
    .option('--descriptors <file>', `of methods: ${DESCRIPTORS}`);
  example(
    get,
    'muster get pools',
    'muster get workers --all-pools',
    'muster get jobs --all-pools --state running',
    'muster get jobs --pool hash --state failed -o json',
    'muster get jobs --pool hash 0d3f6c1e',
    'muster get methods --pool ocr',
  );
  get.action((kind: Kind, id: string | undefined, options: GetOptions) => {
    if (kind === 'methods') {
      checkListOptions(kind, id, options);
      return getMethods(io, options, id);
    }
    if (options.descriptors !== undefined) throw usage(`--descriptors: ${kind} have none, only methods do`);
    return withApi(options, async (api) => {
      checkListOptions(kind, id, options);
      if (kind === 'jobs') return id === undefined ? listJobs(api, io, options) : getJob(api, io, options, id);
      if (kind === 'workers') return id === undefined ? listWorkers(api, io, options) : getWorker(api, io, options, id);
      return kind === 'pools' ? getPools(api, io, options, id) : getReplicas(api, io, options, id);
    });
  });
}

/** An option that would change nothing is a mistake, and is refused. */
function checkListOptions(kind: Kind, id: string | undefined, { state, allPools }: GetOptions): void {
  const lists = kind === 'jobs' || kind === 'workers';
  if (state !== undefined && !lists) throw usage(`--state: ${kind} have none`);
  if (allPools && !lists)
    throw usage(`--all-pools is for jobs and workers; ${kind === 'methods' ? 'name one pool with --pool' : `${kind} are always all`}`);
  if (id === undefined) return;
  if (state !== undefined) throw usage('--state chooses from a list; one thing is shown whatever its state');
  if (allPools) throw usage(`--all-pools chooses from lists; name the pool of ${id} with --pool`);
}

function parseKind(text: string): Kind {
  const lower = text.toLowerCase();
  const found = KINDS.find((kind) => kind === lower || kind.slice(0, -1) === lower);
  if (found === undefined) throw usage(`get ${text}: the kinds are ${KINDS.join(', ')}${didYouMean(text, KINDS)}`);
  return found;
}

/** What a server gives a page at the most. */
const PAGE_MAX = 1_000;

/** Pages until there are no more, or `limit` are there; a page may be empty and not the last. */
async function pages<T>(limit: number, page: (pageSize: number, pageToken: string) => Promise<{ items: T[]; nextPageToken: string }>) {
  const all: T[] = [];
  let token = '';
  do {
    const { items, nextPageToken } = await page(Math.min(limit - all.length, PAGE_MAX), token);
    all.push(...items);
    token = nextPageToken;
  } while (token !== '' && all.length < limit);
  return { items: all.slice(0, limit), more: token !== '' || all.length > limit };
}

async function listJobs(api: Api, io: Io, options: GetOptions): Promise<void> {
  const { limit, output, allPools = false } = options;
  const state = JOB_STATES[parsed(options.state, JOB_STATES)] ?? JobState.JOB_STATE_UNSPECIFIED;
  const pools = allPools ? (await ask(options, (bounds) => api.listPools({}, bounds))).pools.map(({ name }) => name) : [options.pool];
  const items: Job[] = [];
  let more = false;
  for (const pool of pools) {
    // Also when the limit is reached: whether there is more is known only then.
    const page = await pages(Math.max(1, limit - items.length), async (pageSize, pageToken) => {
      const { jobs, nextPageToken } = await ask(options, (bounds) => api.listJobs({ pool, state, pageSize, pageToken }, bounds));
      return { items: jobs, nextPageToken };
    });
    items.push(...page.items);
    more = page.more || items.length > limit;
    if (more) break;
  }
  items.splice(limit);
  if (output === 'json') return printJson(io, { jobs: items.map(plainJob), more });
  await shown(io, items.length, more, 'jobs', jobTable(items, io, allPools));
}

async function listWorkers(api: Api, io: Io, options: GetOptions): Promise<void> {
  const { limit, output, allPools } = options;
  const pool = allPools ? '' : options.pool;
  const state = WORKER_STATES[parsed(options.state, WORKER_STATES)] ?? WorkerState.WORKER_STATE_UNSPECIFIED;
  const { items, more } = await pages(limit, async (pageSize, pageToken) => {
    const { workers, nextPageToken } = await ask(options, (bounds) => api.listWorkers({ pool, state, pageSize, pageToken }, bounds));
    return { items: workers, nextPageToken };
  });
  if (output === 'json') return printJson(io, { workers: items.map(plainWorker), more });
  await shown(io, items.length, more, 'workers', workerTable(items, io));
}

function parsed(text: string | undefined, words: Record<string, number>): string {
  return text === undefined ? '' : parseWord('--state', Object.keys(words))(text);
}

async function shown(io: Io, count: number, more: boolean, what: string, text: string): Promise<void> {
  if (count === 0) return io.tell(`no ${what}`);
  await io.out(text);
  if (more) io.tell(`the first ${count}; --limit shows more`);
}

async function getJob(api: Api, io: Io, options: GetOptions, id: string): Promise<void> {
  const job = present((await ask(options, (bounds) => api.getJob({ pool: options.pool, id }, bounds))).job);
  await (options.output === 'json' ? printJson(io, plainJob(job)) : io.out(jobSheet(job, io)));
}

async function getWorker(api: Api, io: Io, options: GetOptions, id: string): Promise<void> {
  const worker = present((await ask(options, (bounds) => api.getWorker({ pool: options.pool, id }, bounds))).worker);
  await (options.output === 'json' ? printJson(io, plainWorker(worker)) : io.out(workerSheet(worker, io)));
}

async function getPools(api: Api, io: Io, options: GetOptions, name: string | undefined): Promise<void> {
  const { pools } = await ask(options, (bounds) => api.listPools({}, bounds));
  if (name !== undefined) {
    const pool = one(
      pools.find((other) => other.name === name),
      `pool ${name}`,
    );
    return options.output === 'json' ? printJson(io, plainPool(pool)) : io.out(poolTable([pool], io));
  }
  const some = pools.slice(0, options.limit);
  if (options.output === 'json') return printJson(io, { pools: some.map(plainPool), more: some.length < pools.length });
  await shown(io, some.length, some.length < pools.length, 'pools', poolTable(some, io));
}

async function getReplicas(api: Api, io: Io, options: GetOptions, id: string | undefined): Promise<void> {
  const { replicas } = await ask(options, (bounds) => api.listReplicas({}, bounds));
  if (id !== undefined) {
    const replica = one(
      replicas.find((other) => other.id === id),
      `replica ${id}`,
    );
    return options.output === 'json' ? printJson(io, plainReplica(replica)) : io.out(replicaTable([replica], io));
  }
  const some = replicas.slice(0, options.limit);
  if (options.output === 'json') return printJson(io, { replicas: some.map(plainReplica), more: some.length < replicas.length });
  await shown(io, some.length, some.length < replicas.length, 'replicas', replicaTable(some, io));
}

function one<T>(found: T | undefined, what: string): T {
  if (found === undefined) throw new Ended(Exit.NOT_FOUND, `not found: ${what}`);
  return found;
}
