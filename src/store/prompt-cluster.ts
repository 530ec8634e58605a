import { Cluster, type Command } from 'ioredis';

/** Between two questions who has which slot, however many commands find that it has changed. */
const ASK_AGAIN_MS = 250;

type Stream = Parameters<Cluster['sendCommand']>[1];
type Handlers = { defaults(): void };

/** ioredis' Cluster, for whoever would rather be told than wait: it says at once what cannot be done now. */
export class PromptCluster extends Cluster {
  #resting = false;
  #askedMeanwhile = false;

  /** A Cluster that is away as a whole fails commands, as one Redis does; ioredis would keep them until it is back. */
  override sendCommand(command: Command, stream?: Stream, node?: unknown): unknown {
    if (this.status === 'ready' || this.status === 'wait' || command.name === 'cluster') return super.sendCommand(command, stream, node);
    command.reject(new Error("Cluster isn't ready and enableOfflineQueue options is false"));
    return command.promise;
  }

  /** A slot that is being moved stays so for a while. ioredis would send the command to one node after the other sixteen times over. */
  override handleError(error: Error, ttl: { value?: number }, handlers: Handlers): void {
    if (error.message.startsWith('TRYAGAIN')) handlers.defaults();
    else super.handleError(error, ttl, handlers);
  }

  /**
   * Each question is a new connection, and its answer costs the event loop some 10 ms. ioredis asks again as long as any command finds a slot
   * elsewhere, which all do while a master is dead and has no successor yet.
   */
  override refreshSlotsCache(done?: Parameters<Cluster['refreshSlotsCache']>[0]): void {
    if (done) return super.refreshSlotsCache(done);
    this.#askedMeanwhile = this.#resting;
    if (this.#resting) return;
    this.#resting = true;
    setTimeout(() => {
      this.#resting = false;
      if (this.#askedMeanwhile) this.refreshSlotsCache();
    }, ASK_AGAIN_MS).unref();
    super.refreshSlotsCache();
  }
}
