import { Child, scriptArgs } from '../helpers/children.js';
import type { Order } from './client.js';

export interface ClientSeat {
  id: string;
  pool: string;
  /** Its jobs are of the first contract. */
  legacy: boolean;
  child: Child;
}

/** The clients as processes, each with a channel of its own for all its life. Ended by `dispose`. */
export class Clients {
  readonly seats: ClientSeat[];
  readonly #target: string;
  readonly #past: Child[] = [];

  /** `target`: as gRPC takes it. */
  constructor(target: string, seats: readonly Omit<ClientSeat, 'child'>[]) {
    this.#target = target;
    this.seats = seats.map((seat) => ({ ...seat, child: this.#launch(seat) }));
  }

  async ready(): Promise<void> {
    await Promise.all(this.seats.map(({ child }) => child.said('waiting')));
  }

  order({ child }: Pick<ClientSeat, 'child'>, order: Order): void {
    child.tell(JSON.stringify(order));
  }

  /** Another life; resolves when it waits for orders. */
  async restart(seat: ClientSeat): Promise<void> {
    this.#past.push(seat.child);
    seat.child = this.#launch(seat);
    await seat.child.said('waiting');
  }

  /** All lives, for the story. */
  get children(): Child[] {
    return [...this.#past, ...this.seats.map(({ child }) => child)];
  }

  async dispose(): Promise<void> {
    await Promise.all(this.children.map((child) => child.dispose()));
  }

  #launch({ id, pool, legacy }: Omit<ClientSeat, 'child'>): Child {
    return new Child(`client ${id}`, scriptArgs('test/chaos/client.ts'), { CLIENT: JSON.stringify({ target: this.#target, id, pool, legacy }) });
  }
}
