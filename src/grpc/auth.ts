import { type Metadata, ServerInterceptingCall, type ServerInterceptingCallInterface, type ServerInterceptor } from '@grpc/grpc-js';
import { MusterError } from '../domain/errors.js';
import { JOB_ID_HEADER } from '../domain/headers.js';
import { type Identity, type Role, sameIdentity } from '../domain/identity.js';
import { identityOfSans, type RolePattern, splitSans } from '../domain/san.js';
import { hashOf, type Tokens } from '../domain/tokens.js';
import { toStatus } from './status.js';

/** Who may call a method: these roles, or whoever reaches the port. */
export type Access = readonly Role[] | 'everybody';

const WORKERS: Access = ['worker', 'admin'];
const CLIENTS: Access = ['client', 'admin'];
const ADMINS: Access = ['admin'];
const EVERY_ROLE: Access = ['worker', 'client', 'admin'];

/** Method → who may call it. What does not stand here nobody may. */
export const ACCESS: ReadonlyMap<string, Access> = new Map([
  ...methods('muster.v1.WorkerService', WORKERS, ['Register', 'Ping', 'Deregister', 'Report', 'Attach']),
  ...methods('worker.WorkerService', WORKERS, ['Register', 'Ping']),
  ...methods('muster.v1.JobService', CLIENTS, [
    ...['SubmitJob', 'BatchSubmitJobs', 'RunJob', 'WaitJob', 'GetJob', 'ListJobs', 'CancelJob', 'RetryJob', 'Session'],
  ]),
  ...methods('muster.v1.AdminService', ADMINS, [
    ...['ListWorkers', 'GetWorker', 'ListPools', 'ListReplicas', 'DrainWorker', 'UndrainWorker', 'EvictWorker', 'PausePool', 'ResumePool'],
    ...['PurgePool', 'DeletePool', 'RetryBuried', 'PutPoolDescriptors', 'GetPoolDescriptors', 'WatchEvents'],
  ]),
  // Numbers of a pool, and nothing of its jobs: what scales workers needs no power over them.
  ...methods('externalscaler.ExternalScaler', CLIENTS, ['IsActive', 'StreamIsActive', 'GetMetricSpec', 'GetMetrics']),
  ...methods('grpc.reflection.v1.ServerReflection', EVERY_ROLE, ['ServerReflectionInfo']),
  ...methods('grpc.reflection.v1alpha.ServerReflection', EVERY_ROLE, ['ServerReflectionInfo']),
  ...methods('grpc.health.v1.Health', 'everybody', ['Check', 'Watch']),
]);

function methods(service: string, access: Access, names: readonly string[]): [string, Access][] {
  return names.map((name) => [`/${service}/${name}`, access]);
}

/** Why a call was not let in. */
export type RefusalReason = 'NO_CREDENTIALS' | 'BAD_TOKEN' | 'NO_ROLE' | 'ROLE_REFUSED' | 'QUOTA_STREAMS' | 'REVOKED' | 'JOB_CALL';

export interface Refusal {
  reason: RefusalReason;
  method: string;
  /** `ip:port`, as grpc-js writes it. */
  peer: string;
  /** Of whom it is known who it is. */
  identity: string | undefined;
}

export interface GuardOptions {
  /** Those that count now. */
  tokens: () => Tokens;
  /** Of clients' certificates; none: certificates are not asked for. */
  roles: readonly RolePattern[];
  /** Streams that one identity may have open here; 0: any number. */
  maxStreams: number;
  /** Told of each refusal, after it was counted. */
  onRefused: (refusal: Refusal) => void;
}

const AUTHORIZATION = 'authorization';
/** A word and a token. What is longer is none of ours, and is not hashed. */
const BEARER = /^bearer +([\x21-\x7e]{1,512})$/i;

interface Known {
  identity: Identity;
  /** The hash of the token that said so; undefined: a certificate did. */
  hash: string | undefined;
}

/** Lets calls in, by their metadata and their connection, before a message of theirs is read. */
export class Guard {
  /** Calls that were refused, by reason, since the start. */
  readonly refused: Record<RefusalReason, number> = {
    NO_CREDENTIALS: 0,
    BAD_TOKEN: 0,
    NO_ROLE: 0,
    ROLE_REFUSED: 0,
    QUOTA_STREAMS: 0,
    REVOKED: 0,
    JOB_CALL: 0,
  };
  readonly #options: GuardOptions;
  /** By the call's metadata, which nobody but grpc-js makes: a header could be sent by anyone. */
  readonly #identities = new WeakMap<Metadata, Identity>();
  /** Identity's name → its open streams. */
  readonly #streams = new Map<string, Set<GuardedCall>>();

  constructor(options: GuardOptions) {
    this.#options = options;
  }

  /** For `new Server({ interceptors })`. */
  readonly interceptor: ServerInterceptor = ({ path, requestStream, responseStream }, call) =>
    new GuardedCall(this, call, path, requestStream || responseStream);

  /** Who made the call with that metadata; undefined where everybody may call. */
  readonly identityOf = (metadata: Metadata): Identity | undefined => this.#identities.get(metadata);

  /** Open streams of one identity. */
  streamsOf(name: string): number {
    return this.#streams.get(name)?.size ?? 0;
  }

  /** The tokens are others now: streams that were opened with one that says something else, or nothing, end. */
  revoke(): void {
    const tokens = this.#options.tokens();
    for (const calls of [...this.#streams.values()]) {
      for (const call of [...calls]) {
        const { hash, identity } = call.known ?? {};
        if (hash === undefined || sameIdentity(tokens.get(hash), identity)) continue;
        call.refuse(this.#refusal('REVOKED', call, identity, 'the token is not valid any more: open another stream with a new one'));
      }
    }
  }

  /** Throws MusterError. Answers with who it is; undefined where everybody may call. */
  admit(call: GuardedCall, metadata: Metadata): Known | undefined {
    // Some replica calls a worker, and reached this one: by an address of ours that it does not know, such as a balancer's.
    if (metadata.get(JOB_ID_HEADER).length > 0) {
      throw this.#refusal(
        'JOB_CALL',
        call,
        undefined,
        `${JOB_ID_HEADER}: this is a replica and no worker: register the address of the worker itself`,
      );
    }
    const access = ACCESS.get(call.path);
    if (access === 'everybody') return undefined;
    const known = this.#identify(call, metadata);
    const { identity } = known;
    if (!access?.includes(identity.role)) {
      const who = access === undefined ? 'nobody' : access.join(' and ');
      throw this.#refusal('ROLE_REFUSED', call, identity, `${call.path} is for ${who}; ${identity.name} is a ${identity.role}`);
    }
    if (call.streaming) this.#enter(call, identity);
    // Whatever a handler says of its metadata, the secret is not in it.
    metadata.remove(AUTHORIZATION);
    this.#identities.set(metadata, identity);
    return known;
  }

  leave(call: GuardedCall): void {
    const name = call.known?.identity.name;
    const calls = name === undefined ? undefined : this.#streams.get(name);
    if (name === undefined || !calls?.delete(call)) return;
    if (calls.size === 0) this.#streams.delete(name);
  }

  #identify(call: GuardedCall, metadata: Metadata): Known {
    const said = metadata.get(AUTHORIZATION);
    if (said.length > 0) {
      const [, token] = said.length === 1 ? (BEARER.exec(String(said[0])) ?? []) : [];
      const hash = token === undefined ? undefined : hashOf(token);
      const identity = hash === undefined ? undefined : this.#options.tokens().get(hash);
      if (identity) return { identity, hash };
      throw this.#refusal('BAD_TOKEN', call, undefined, 'authorization: must be "Bearer" and one token of MUSTER_TOKENS_FILE; this is none');
    }
    const certificate = this.#options.roles.length > 0 ? call.getAuthContext().sslPeerCertificate : undefined;
    if (!certificate) throw this.#refusal('NO_CREDENTIALS', call, undefined, this.#remedy());
    const sans = splitSans(certificate.subjectaltname);
    const identity = identityOfSans(sans, this.#options.roles);
    if (identity) return { identity, hash: undefined };
    throw this.#refusal('NO_ROLE', call, undefined, `the certificate has no role: MUSTER_TLS_ROLES gives none to ${sans.slice(0, 3).join(', ')}`);
  }

  #enter(call: GuardedCall, { name }: Identity): void {
    const { maxStreams } = this.#options;
    const calls = this.#streams.get(name) ?? new Set();
    if (maxStreams > 0 && calls.size >= maxStreams) {
      const message = `${name} has ${maxStreams} streams open at this replica, as many as it may (MUSTER_QUOTA_STREAMS): end one, or try another replica`;
      throw this.#refusal('QUOTA_STREAMS', call, { name }, message);
    }
    calls.add(call);
    this.#streams.set(name, calls);
  }

  #remedy(): string {
    const ways = [
      ...(this.#options.tokens().size > 0 ? ['send "authorization: Bearer <token>"'] : []),
      ...(this.#options.roles.length > 0 ? ['connect with a certificate that MUSTER_TLS_CLIENT_CA has signed and that has not expired'] : []),
    ];
    return `no credentials: ${ways.join(', or ')}`;
  }

  #refusal(reason: RefusalReason, call: GuardedCall, identity: { name: string } | undefined, message: string): MusterError {
    this.refused[reason]++;
    this.#options.onRefused({ reason, method: call.path, peer: call.getPeer(), identity: identity?.name });
    if (reason === 'ROLE_REFUSED' || reason === 'JOB_CALL') return new MusterError('permission_denied', reason, message);
    if (reason === 'QUOTA_STREAMS') return new MusterError('resource_exhausted', reason, message, { retryAfterMs: QUOTA_RETRY_MS });
    return new MusterError('unauthenticated', reason, message);
  }
}

const QUOTA_RETRY_MS = 1_000;

type Listener = Parameters<ServerInterceptingCall['start']>[0];
type Status = Parameters<ServerInterceptingCall['sendStatus']>[0];

/**
 * One call behind the guard. It stands between the call and its handler for as long as the call lasts, so each message passes through it: what
 * goes by goes by in one step, without the closures that grpc-js' own wrapper makes of each.
 */
class GuardedCall extends ServerInterceptingCall {
  /** Set once it was let in; undefined where everybody may call. */
  known: Known | undefined;
  readonly path: string;
  readonly streaming: boolean;
  readonly #guard: Guard;
  readonly #next: ServerInterceptingCallInterface;
  /** While the call is its handler's: let in, and not over. */
  #handler: Listener | undefined;
  #refused = false;

  constructor(guard: Guard, next: ServerInterceptingCallInterface, path: string, streaming: boolean) {
    super(next);
    this.#guard = guard;
    this.#next = next;
    this.path = path;
    this.streaming = streaming;
  }

  override start(listener: Listener): void {
    this.#next.start({
      onReceiveMetadata: (metadata) => {
        try {
          this.known = this.#guard.admit(this, metadata);
        } catch (error) {
          return this.#next.sendStatus(toStatus(error));
        }
        this.#handler = listener;
        listener.onReceiveMetadata(metadata);
      },
      onReceiveMessage: (message) => this.#handler?.onReceiveMessage(message),
      onReceiveHalfClose: () => this.#handler?.onReceiveHalfClose(),
      // Comes at the end of every call, however it ended.
      onCancel: () => this.#over(),
    });
  }

  /** Ends a call that was let in. For its handler it is broken off: nothing that it still says is sent after the status. */
  refuse(error: MusterError): void {
    this.#refused = true;
    this.#over();
    this.#next.sendStatus(toStatus(error));
  }

  override sendMetadata(metadata: Metadata): void {
    if (!this.#refused) this.#next.sendMetadata(metadata);
  }

  override sendMessage(message: unknown, callback: () => void): void {
    if (!this.#refused) this.#next.sendMessage(message, callback);
  }

  override sendStatus(status: Status): void {
    if (!this.#refused) this.#next.sendStatus(status);
  }

  #over(): void {
    const handler = this.#handler;
    this.#handler = undefined;
    if (!handler) return;
    this.#guard.leave(this);
    handler.onCancel();
  }
}
