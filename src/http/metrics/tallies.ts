import { Counter, Histogram, type MetricValueWithName, type Registry } from 'prom-client';

type Labels = Readonly<Record<string, string>>;

interface Named {
  name: string;
  help: string;
  labels?: string[];
  registry: Registry;
}

/** Beyond so many sets of labels, what is new counts as `other`: nobody who names things can make a metric grow. */
const SETS_MAX = 200;
const OTHER = 'other';

/** Members by the values of their labels, in the order of their names. */
class Sets<T> {
  readonly #names: string[];
  readonly #make: () => T;
  readonly #members = new Map<string, { labels: Labels; member: T }>();

  constructor(names: string[], make: () => T) {
    this.#names = names;
    this.#make = make;
  }

  of(values: string[]): T {
    const key = values.join('\n');
    const there = this.#members.get(key);
    if (there) return there.member;
    const others = this.#names.map(() => OTHER);
    if (this.#members.size >= SETS_MAX && key !== others.join('\n')) return this.of(others);
    const labels = Object.fromEntries(this.#names.map((name, i) => [name, values[i] ?? '']));
    const member = this.#make();
    this.#members.set(key, { labels, member });
    return member;
  }

  *all(): Generator<[Labels, T]> {
    for (const { labels, member } of this.#members.values()) yield [labels, member];
  }
}

/**
 * A counter whose numbers are plain until somebody asks for them. What the library does at each increment (looking labels up, checking them) is
 * more than many a job costs here.
 */
export class Tally {
  readonly #sets: Sets<{ n: number }>;

  constructor({ name, help, labels = [], registry }: Named) {
    const sets = new Sets(labels, () => ({ n: 0 }));
    this.#sets = sets;
    if (labels.length === 0) sets.of([]);
    new Counter({
      name,
      help,
      labelNames: labels,
      registers: [registry],
      collect() {
        this.reset();
        for (const [values, { n }] of sets.all()) this.inc(values, n);
      },
    });
  }

  /** The number of that set of labels, for its owner to raise. */
  of(...values: string[]): { n: number } {
    return this.#sets.of(values);
  }
}

/** How often a value fell between two bounds. */
export class Buckets {
  readonly counts: number[];
  sum = 0;

  constructor(readonly bounds: readonly number[]) {
    this.counts = Array.from({ length: bounds.length + 1 }, () => 0);
  }

  observe(value: number): void {
    const { bounds, counts } = this;
    let i = 0;
    while (i < bounds.length && value > (bounds[i] ?? 0)) i++;
    counts[i] = (counts[i] ?? 0) + 1;
    this.sum += value;
  }
}

/** As the library's histograms tell their values, where some labels may be common to many. */
type Sample = MetricValueWithName<string> & { sharedLabels: Labels };

/** The same for a histogram: to the registry it is one of the library's, with numbers of ours. */
export class Distribution extends Histogram<string> {
  readonly #named: { name: string; help: string };
  readonly #sets: Sets<Buckets>;

  constructor({ name, help, labels = [], registry, buckets }: Named & { buckets: readonly number[] }) {
    super({ name, help, labelNames: labels, buckets: [...buckets], registers: [registry] });
    this.#named = { name, help };
    this.#sets = new Sets(labels, () => new Buckets(buckets));
    if (labels.length === 0) this.#sets.of([]);
  }

  of(...values: string[]): Buckets {
    return this.#sets.of(values);
  }

  /** What the library's own `get` and the registry ask for; its types do not say so. */
  async getForPromString(): Promise<{ name: string; help: string; type: string; aggregator: string; values: Sample[] }> {
    const values = [...this.#sets.all()].flatMap(([labels, buckets]) => this.#values(labels, buckets));
    return { name: this.#named.name, help: this.#named.help, type: 'histogram', aggregator: 'sum', values };
  }

  #values(labels: Labels, { bounds, counts, sum }: Buckets): Sample[] {
    const { name } = this.#named;
    const sample = (what: string, value: number, more: Labels = {}) => ({
      metricName: `${name}_${what}`,
      labels: { ...labels, ...more },
      sharedLabels: {},
      value,
    });
    let below = 0;
    const buckets = [...bounds.map(String), '+Inf'].map((le, i) => {
      below += counts[i] ?? 0;
      return sample('bucket', below, { le });
    });
    return [...buckets, sample('sum', sum), sample('count', below)];
  }
}
