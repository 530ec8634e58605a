/** What a replica's /metrics says, for tests to ask. */
export class Exposition {
  readonly #samples = new Map<string, number>();
  /** Every name that has a type. */
  readonly names = new Set<string>();
  /** Every label's name. */
  readonly labels = new Set<string>();

  constructor(readonly text: string) {
    for (const line of text.split('\n')) {
      const [, declared] = /^# TYPE (\S+)/.exec(line) ?? [];
      if (declared !== undefined) this.names.add(declared);
      const [, name, labels = '', value] = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
      if (name === undefined) continue;
      const pairs = [...labels.matchAll(/([a-z_]+)="([^"]*)"/g)].map(([pair, label = '']) => {
        this.labels.add(label);
        return pair;
      });
      this.#samples.set(keyOf(name, pairs), Number(value));
    }
  }

  /** undefined: there is no such sample. `labels`: all that it has. */
  of(name: string, labels: Record<string, string> = {}): number | undefined {
    return this.#samples.get(
      keyOf(
        name,
        Object.entries(labels).map(([label, value]) => `${label}="${value}"`),
      ),
    );
  }

  static async at(httpPort: number): Promise<Exposition> {
    const response = await fetch(`http://127.0.0.1:${httpPort}/metrics`);
    if (response.status !== 200) throw new Error(`/metrics answered ${response.status}: ${await response.text()}`);
    return new Exposition(await response.text());
  }
}

function keyOf(name: string, pairs: string[]): string {
  return `${name}{${pairs.toSorted().join(',')}}`;
}
