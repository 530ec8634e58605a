import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { buildProgram } from '../../../src/cli/program.js';
import { fields, readConfig } from '../../../src/config.js';
import { VERSION } from '../../../src/lifecycle/version.js';
import { unknownSettings } from '../../helpers/manifest-checks.js';
import { at, type Tree } from '../../helpers/manifests.js';
import { ROOT } from '../../helpers/source.js';
import { binaryOf, configured } from '../../rolling/balancers.js';
import { ioOf } from '../cli/harness.js';

/** The image, the compose file and the balancer's configuration must fit each other, and the configuration. */
const read = (path: string) => readFileSync(new URL(path, ROOT), 'utf8');
const dockerfile = read('Dockerfile');
const compose = parse(read('docker-compose.yml'), { merge: true }) as Tree;
const service = (name: string) => at(compose, 'services', name) as Tree;
const environment = (name: string) => service(name)['environment'] as Record<string, string>;
const seconds = (text: unknown) => Number(/^(\d+)s$/.exec(String(text))?.[1]);
const commands = new Map(buildProgram(ioOf()).commands.map((command) => [command.name(), command]));

/** Every instruction of that name, its continued lines joined. */
const instructions = (name: string) =>
  [...dockerfile.replace(/\\\n\s*/g, '').matchAll(new RegExp(`(?:^|\\s)${name} (.*)$`, 'gm'))].map((match) => match[1] ?? '');

test.each(['docker-compose.yml', 'Dockerfile'])('%s names settings that exist', (path) => {
  expect(unknownSettings(read(path))).toEqual([]);
});

test('the image runs the program as nobody in particular, and asks it whether it serves', () => {
  expect(instructions('USER')).toEqual([expect.stringMatching(/^[1-9]\d*$/)]);
  expect(instructions('ENTRYPOINT')).toEqual(['["node", "/app/dist/main.js"]']);
  const [, command = ''] = /CMD (\[.*\])/.exec(instructions('HEALTHCHECK')[0] ?? '') ?? [];
  expect(JSON.parse(command)).toEqual(['node', '/app/dist/main.js', 'healthcheck']);
  expect(commands.has('healthcheck')).toBe(true);
  const ports = [fields.GRPC_ADDR, fields.HTTP_ADDR].map((field) => field.parse(undefined).split(':')[1]);
  expect(instructions('EXPOSE')).toEqual([ports.join(' ')]);
});

test('the manifests, the compose file, and the commands of the docs name one image, of this version', () => {
  const named = ['docker-compose.yml', 'k8s/base/deployment.yaml', 'k8s/worker/deployment.yaml'].flatMap((path) =>
    [...read(path).matchAll(/^\s*image: (muster\S*)$/gm)].map((match) => match[1]),
  );
  const built = ['Dockerfile', 'docs/deploying.md'].flatMap((path) => [...read(path).matchAll(/docker build -t (\S+)/g)].map((match) => match[1]));
  expect(named.length).toBe(3);
  expect(built.length).toBe(2);
  expect(new Set([...named, ...built])).toEqual(new Set([`muster:${VERSION}`]));
});

test('its labels are those of the package', () => {
  const { description, license } = JSON.parse(read('package.json')) as Record<string, string>;
  const [labels = ''] = instructions('LABEL');
  const label = (name: string) => new RegExp(`org\\.opencontainers\\.image\\.${name}="([^"]*)"`).exec(labels)?.[1];
  expect([label('version'), label('licenses'), label('description')]).toEqual([VERSION, license, description]);
});

test('what is copied into the build is what .dockerignore lets through', () => {
  const copied = instructions('COPY')
    .filter((words) => !words.includes('--from='))
    .flatMap((words) => words.split(' ').slice(0, -1));
  const allowed = read('.dockerignore')
    .split('\n')
    .filter((line) => line.startsWith('!'))
    .map((line) => line.slice(1));
  expect([...copied].sort()).toEqual([...allowed].sort());
});

test('the replicas of compose start with what they are told, and have the time to stop', () => {
  const config = readConfig(environment('muster'));
  expect(config.REDIS_URL).toBe('redis://redis:6379');
  expect(seconds(service('muster')['stop_grace_period'])).toBeGreaterThan((config.STOP_LEAD_MS + config.STOP_GRACE_MS) / 1000 + 5);
  expect(at(service('muster'), 'deploy', 'replicas')).toBe(3);
});

test('what compose runs writes on no root and has no capabilities, and only this machine reaches it', () => {
  for (const name of ['muster', 'haproxy', 'workers']) {
    expect(service(name), name).toMatchObject({ read_only: true, cap_drop: ['ALL'], security_opt: ['no-new-privileges:true'] });
  }
  const published = Object.values(at(compose, 'services') as Record<string, Tree>).flatMap(({ ports = [] }) => ports as string[]);
  expect(published.length).toBeGreaterThan(0);
  for (const port of published) expect(port).toMatch(/^127\.0\.0\.1:/);
});

test('Redis keeps its data over a restart and evicts nothing', () => {
  const line = (service('redis')['command'] as string[]).join(' ');
  expect(line).toContain('--appendonly yes');
  expect(line).toContain('--maxmemory-policy noeviction');
});

test('the workers of compose are a command that there is, with options that it takes', () => {
  const [name = '', ...args] = service('workers')['command'] as string[];
  const options = commands.get(name)?.options.map(({ long }) => long);
  for (const option of args.filter((word) => word.startsWith('--'))) expect(options).toContain(option);
  expect(args).toContain('haproxy:50050');
});

test('every file that compose mounts is there; what it monitors with is in one folder', () => {
  const mounted = Object.values(at(compose, 'services') as Record<string, Tree>)
    .flatMap(({ volumes = [] }) => volumes as string[])
    .filter((volume) => volume.startsWith('./'))
    .map((volume) => volume.slice(2).split(':')[0] ?? '');
  expect(mounted).toContain('deploy/haproxy.cfg');
  const others = mounted.filter((path) => !path.startsWith('deploy/monitoring/'));
  expect(mounted.length - others.length).toBe(3);
  for (const path of others) expect(read(path).length, path).toBeGreaterThan(0);
});

const haproxy = binaryOf('haproxy');

test(`HAProxy takes its configuration in both forms${haproxy === undefined ? ' (not looked at: it is not on PATH)' : ''}`, () => {
  const { REPLICAS, RESOLVER } = environment('haproxy');
  expect(REPLICAS).toBe('muster:50051');
  if (haproxy === undefined) return;
  const folder = mkdtempSync(join(tmpdir(), 'muster-haproxy-'));
  try {
    const file = join(folder, 'haproxy.cfg');
    const endpoint = { grpcPort: 1, httpPort: 2 };
    writeFileSync(file, configured('haproxy', 3, [endpoint, endpoint, endpoint]));
    for (const env of [{}, { REPLICAS, RESOLVER }]) {
      const checked = spawnSync(haproxy, ['-c', '-V', '-f', file], { env, encoding: 'utf8' });
      expect([checked.status, `${checked.stdout}${checked.stderr}`]).toEqual([0, expect.stringContaining('Configuration file is valid')]);
      expect(checked.stderr).not.toMatch(/WARNING|ALERT/);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const composer = [['docker', 'compose'], ['docker-compose']].find(([file = '', ...args]) => spawnSync(file, [...args, 'version']).status === 0);

test(`compose takes the file${composer === undefined ? ' (not looked at: neither docker compose nor docker-compose is here)' : ''}`, () => {
  if (composer === undefined) return;
  const [file = '', ...args] = composer;
  const ran = spawnSync(file, [...args, '--profile', 'monitoring', 'config'], { cwd: fileURLToPath(ROOT), encoding: 'utf8' });
  expect([ran.status, ran.stderr]).toEqual([0, '']);
  const found = parse(ran.stdout) as Tree;
  expect(Object.keys(at(found, 'services') as Tree).sort()).toEqual(['grafana', 'haproxy', 'muster', 'prometheus', 'redis', 'workers']);
});
