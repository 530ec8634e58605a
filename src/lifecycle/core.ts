import { hostname } from 'node:os';
import type { Config } from '../config.js';
import type { Clock, Random } from '../domain/clock.js';
import type { Verdict } from '../domain/job.js';
import type { DialTarget, LeaseRef, Link, LinkEvents } from '../domain/link.js';
import type { Observer } from '../domain/observer.js';
import { Adopter } from '../fleet/adopter.js';
import { Attacher } from '../fleet/attacher.js';
import { SelfJudgement } from '../fleet/judgement.js';
import { Levelling } from '../fleet/levelling.js';
import { FleetLinks } from '../fleet/links.js';
import type { CheckQueue } from '../fleet/ports.js';
import { Prober } from '../fleet/prober.js';
import { FleetQueries } from '../fleet/queries.js';
import { Registrar } from '../fleet/registrar.js';
import { WorkerManager } from '../fleet/worker-manager.js';
import { Dispatcher } from '../jobs/dispatcher.js';
import { Finisher } from '../jobs/finisher.js';
import { Jobs } from '../jobs/jobs.js';
import { Matching } from '../jobs/matching.js';
import { type Attempt, Running } from '../jobs/running.js';
import { Submitter } from '../jobs/submit.js';
import { Ticker } from '../jobs/ticker.js';
import { Vouching } from '../jobs/vouching.js';
import { Waiters } from '../jobs/waiters.js';
import { DialPolicy } from '../links/address-policy.js';
import { GrpcDialer, probeOnce } from '../links/dialer.js';
import { ReplicaAddresses } from '../links/replica-addresses.js';
import { DialSecurity } from '../links/security.js';
import { LinkTable } from '../links/table.js';
import type { Store } from '../store/store.js';
import { dialKeys } from './dial-keys.js';

export interface CoreOptions {
  config: Config;
  store: Store;
  clock: Clock;
  random: Random;
  checks: CheckQueue;
  observer: Observer;
  /** This replica is stopping: it takes no new work for its workers, and what breaks now breaks because of it. */
  stopping: () => boolean;
  onError: (error: unknown) => void;
}

/** Attached links turn over in band before their connection is told to go. */
export const TURN_OVER = 0.8;

/** Jobs and fleet of one replica, wired together; no server, no BullMQ. */
export function createCore({ config, store, clock, random, checks, observer, stopping, onError }: CoreOptions) {
  const running = new Running();
  const judgement = new SelfJudgement(store, config.LOOP_LAG_MAX_MS);
  const waiters = new Waiters({
    read: (pool, ids) => store.readJobs(pool, ids, { bodies: true }),
    clock,
    rereadMs: config.WAIT_REREAD_MS,
    maxWaiters: config.MAX_WAITERS,
    onError,
  });

  const keys = dialKeys(config, clock, onError, observer);
  const replicas = new ReplicaAddresses(hostname());
  const policy = new DialPolicy({ insecure: config.INSECURE, allow: config.DIAL_ALLOW, replicas });
  const dialer = new GrpcDialer({
    clock,
    maxResultBytes: config.MAX_RESULT_BYTES,
    maxPayloadBytes: config.MAX_PAYLOAD_BYTES,
    pingTimeoutMs: config.PING_TIMEOUT_MS,
    policy,
    credentials: config.JOB_CREDENTIALS,
    security: new DialSecurity({ insecure: config.INSECURE, plaintext: config.DIAL_PLAINTEXT, contexts: keys }),
  });
  const probe = (target: DialTarget, timeoutMs: number) => probeOnce(target, timeoutMs, dialer);
  const events: LinkEvents = {
    delivered: (lease, ref, delivery) => {
      if (!(stopping() && delivery.kind === 'unknown')) dispatcher.delivered(lease, ref, delivery);
    },
    heard: () => undefined,
    closed: (link, reason, reset) => void attacher.detached(link, reason, reset),
  };
  const links = new FleetLinks({ table: new LinkTable(config.MAX_LINKS), dialer, events, running, observer });

  const matching = new Matching({
    jobs: store.jobs,
    clock,
    deliver: (assignments, calledAt) => dispatcher.deliver(assignments, calledAt),
    ask: (withheld) => {
      for (const lease of withheld) dispatcher.ask(lease);
    },
    deliveryMs: config.DELIVERY_MS,
    shardOf: (pool) => store.shardOf(pool),
    onError,
  });
  const batches = { batchMax: config.BATCH_MAX, batchBytes: config.BATCH_BYTES, maxQueue: config.BATCH_QUEUE };
  const ofWorker = (lease: LeaseRef) => links.get(lease.pool, lease.worker);
  const onSettled = (lease: Attempt, verdict: Verdict | undefined) => links.settled(lease, verdict);
  const finisher = new Finisher({
    jobs: store.jobs,
    matching,
    running,
    waiters,
    clock,
    random,
    ...batches,
    claims: () => !stopping(),
    onSettled,
    onUnreached: (lease) => {
      const link = ofWorker(lease);
      if (link) void prober.probe(link);
    },
    observer,
    onError,
  });
  const dispatcher = new Dispatcher({
    jobs: store.jobs,
    matching,
    finisher,
    running,
    links,
    clock,
    acceptAgeMs: config.ACCEPT_AGE_MS,
    ...batches,
    onDoubtful: (attempt, outcome) => void prober.resolveDoubt(attempt, outcome),
    openLink: (pool, worker, epoch) => adopter.openLink(pool, worker, epoch),
    onAborted: (lease) => {
      const link = ofWorker(lease);
      if (link && link.contract !== 'METHOD') void prober.probe(link);
    },
    observer,
    onError,
  });
  const keysProven = () => keys?.proven ?? true;
  const confirm = (pool: string, attempts: readonly Attempt[]) => vouching.confirm(pool, attempts);
  const prober = new Prober({
    store,
    matching,
    finisher,
    running,
    links,
    clock,
    random,
    checks,
    judgement,
    keysProven,
    intervalMs: config.HEALTH_INTERVAL_MS,
    beatMs: config.BEAT_MS,
    timeoutMs: config.PING_TIMEOUT_MS,
    misses: config.PING_MISSES,
    concurrency: config.PROBE_CONCURRENCY,
    onMute: (link) => {
      link.close();
      void attacher.detached(link, 'silent');
    },
    confirm,
    rejoin: (lease) => {
      running.remove(lease);
      dispatcher.ask({ ...lease, link: '' });
    },
    onError,
  });
  const common = { store, matching, links, running, clock, probeOnce: probe, onHolding: (link: Link) => void prober.probe(link) };
  const adopter = new Adopter({
    ...common,
    checks,
    judgement,
    keysProven,
    observer,
    timeoutMs: config.PING_TIMEOUT_MS,
    reattachMs: config.REATTACH_GRACE_MS,
    onError,
  });
  const registrar = new Registrar({ ...common, policy, pingTimeoutMs: config.PING_TIMEOUT_MS, maxLinks: config.MAX_LINKS });
  const attacher = new Attacher({
    ...common,
    random,
    maxLinks: config.MAX_LINKS,
    concurrency: config.ATTACH_CONCURRENCY,
    turnOverMs: TURN_OVER * config.CONNECTION_AGE_MS,
    reattachMs: config.REATTACH_GRACE_MS,
    resetGraceMs: Math.min(config.RESET_GRACE_MS, config.REATTACH_GRACE_MS),
    stopping,
    confirm,
    onError,
  });
  const levelling = new Levelling({ links, clock, random, roundMs: config.HOME_BEAT_MS, forgetMs: config.CONNECTION_AGE_MS });
  const manager = new WorkerManager({ store, matching, finisher, registrar, prober, adopter, attacher, links });

  const vouching = new Vouching({
    workers: store.workers,
    matching,
    running,
    links,
    clock,
    confirmMs: config.CONFIRM_MS,
    beatMs: config.BEAT_MS,
    homeBeatMs: config.HOME_BEAT_MS,
    signMs: config.HEALTH_INTERVAL_MS / 2,
    onGone: (lease) => void dispatcher.abort(lease),
    onNotHome: (link) => links.release(link.ref),
    observer,
    onError,
  });
  const ticker = new Ticker({
    store,
    matching,
    clock,
    random,
    tickMs: config.TICK_MS,
    finishedKept: config.FINISHED_KEPT,
    buriedKept: config.BURIED_KEPT,
    onDeadHomes: (pool, homes) => adopter.onDeadHomes(pool, homes),
    onError,
  });
  const submitter = new Submitter({
    jobs: store.jobs,
    matching,
    within: (pool, by, run) => store.within(pool, by, run),
    maxWaiting: config.MAX_WAITING,
    ...batches,
    observer,
  });
  const jobs = new Jobs({ store, matching, submitter, waiters, observer });
  return {
    keys,
    replicas,
    manager,
    jobs,
    queries: new FleetQueries(store),
    matching,
    dispatcher,
    finisher,
    running,
    waiters,
    submitter,
    links,
    events,
    attacher,
    levelling,
    vouching,
    ticker,
    judgement,
  };
}

export type Core = ReturnType<typeof createCore>;
