import { Cluster, type Command } from 'ioredis';

/** Between two questions who has which slot, however many commands find that it has changed: twice as long each time that it is asked on and on. */
const ASK_AGAIN_MS = { first: 250, most: 1_000 };

type Stream = Parameters<Cluster['sendCommand']>[1];
type Handlers = { defaults(): void };

/** ioredis' Cluster, asked for its slots no more often than it makes sense. */
export class CalmCluster extends Cluster {
  #restMs = 0;
  #askedMeanwhile = false;

  /**
   * Each question is a new connection, and its answer costs the event loop some 10 ms. ioredis asks again as long as any command finds a slot
   * elsewhere, which all do while a master is dead and has no successor yet.
   */
  override refreshSlotsCache(done?: Parameters<Cluster['refreshSlotsCache']>[0]): void {
    if (done) return super.refreshSlotsCache(done);
    if (this.#restMs > 0) {
      this.#askedMeanwhile = true;
      return;
    }
    this.#askNow(ASK_AGAIN_MS.first);
  }

  /**
   * ioredis connects again once the last of its connections has ended, and waits for ever where it has none: in the middle of a connect.
   * BullMQ disconnects like this whenever a wait for jobs is overdue.
   */
  override disconnect(reconnect = false): void {
    const inside = this as unknown as { reconnectTimeout?: unknown; handleCloseEvent(): void };
    const isEmpty = this.status !== 'wait' && this.nodes().length === 0 && !inside.reconnectTimeout;
    super.disconnect(reconnect);
    if (reconnect && isEmpty && this.status === 'disconnecting') inside.handleCloseEvent();
  }

  #askNow(restMs: number): void {
    this.#restMs = restMs;
    this.#askedMeanwhile = false;
    setTimeout(() => {
      this.#restMs = 0;
      if (this.#askedMeanwhile) this.#askNow(Math.min(2 * restMs, ASK_AGAIN_MS.most));
    }, restMs).unref();
    super.refreshSlotsCache();
  }
}

/** The same for whoever would rather be told than wait: it says at once what cannot be done now. */
export class PromptCluster extends CalmCluster {
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
}
