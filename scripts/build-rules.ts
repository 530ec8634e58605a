/**
 * Builds `k8s/components/monitoring/rules.yaml`: the alerts of `deploy/monitoring/rules.yml` as the Prometheus Operator takes them.
 *
 * Kustomize reads no files from elsewhere, and two sets of alerts would be two truths. `--check` exits 1 when the committed file is not current.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'yaml';

const RULES = fileURLToPath(new URL('../deploy/monitoring/rules.yml', import.meta.url));
const OUT = fileURLToPath(new URL('../k8s/components/monitoring/rules.yaml', import.meta.url));

function build(rules: string): string {
  const { groups } = parse(rules) as { groups: unknown };
  const metadata = { name: 'muster', labels: { 'app.kubernetes.io/name': 'muster' } };
  const object = { apiVersion: 'monitoring.coreos.com/v1', kind: 'PrometheusRule', metadata, spec: { groups } };
  return `# Built from deploy/monitoring/rules.yml by scripts/build-rules.ts: \`npm run rules\`. Not written by hand.\n${stringify(object, { lineWidth: 0 })}`;
}

const built = build(readFileSync(RULES, 'utf8'));
if (process.argv.includes('--check')) {
  if (!existsSync(OUT) || readFileSync(OUT, 'utf8') !== built) {
    process.stderr.write('k8s/components/monitoring/rules.yaml is not current: run `npm run rules` and commit it.\n');
    process.exit(1);
  }
} else {
  writeFileSync(OUT, built);
}
