/** What the process of attached workers is told to do. `targets`: one of them for each channel that it opens from then on. */
export type Order = { do: 'attach' | 'targets'; targets: string[] } | { do: 'keep' | 'finish' | 'look' };

/** How its workers are once that is done. */
export interface Answer {
  /** Replica id → workers whose last Welcome came from there. */
  at: Record<string, number>;
  /** Workers that keep exactly one assignment, and those that keep more. */
  busy: number;
  twice: number;
}
