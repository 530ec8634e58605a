/** First in, first out, at O(1) each way; an array's own `shift` is O(length). */
export class Queue<T> {
  private items: T[] = [];
  private at = 0;

  push(item: T): void {
    this.items.push(item);
  }

  /** Before all others, in their order. */
  unshift(items: T[]): void {
    this.items = [...items, ...this.items.slice(this.at)];
    this.at = 0;
  }

  peek(): T | undefined {
    return this.items[this.at];
  }

  shift(): T | undefined {
    const item = this.items[this.at];
    if (this.at < this.items.length) this.at++;
    // What was taken is let go once it is the larger part.
    if (this.at > 32 && this.at * 2 > this.items.length) {
      this.items = this.items.slice(this.at);
      this.at = 0;
    }
    return item;
  }
}
