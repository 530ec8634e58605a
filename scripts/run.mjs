/**
 * `node scripts/run.mjs setup|build|test|demo|bench|rolling|chaos|k8s [arguments]`: does all set-up that the command needs, then runs it.
 *
 * Plain Node and nothing else, because it runs before anything is installed: checks Node, runs `npm ci --ignore-scripts` when
 * node_modules is not what the lockfile says, finds or installs a Redis server, builds when the sources changed.
 * Its own words and those of what it installs go to stderr: stdout belongs to the command.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, chmodSync, constants, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const MODULES = join(ROOT, 'node_modules');
const NODE_FLOOR = [20, 19];
const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP'];

const say = (text) => process.stderr.write(`muster: ${text}\n`);

function fail(text) {
  say(text);
  process.exit(1);
}

/** Runs to the end, its output on stderr. True when it succeeded. */
function run(command, args, env = {}) {
  const { status } = spawnSync(command, args, { cwd: ROOT, stdio: ['ignore', 2, 2], env: { ...process.env, ...env } });
  return status === 0;
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < NODE_FLOOR[0] || (major === NODE_FLOOR[0] && minor < NODE_FLOOR[1])) {
    fail(`this is Node ${process.versions.node}; Muster needs ${NODE_FLOOR.join('.')} or newer: https://nodejs.org`);
  }
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

/** Does what npm noted of its last install agree with the lockfile? Optional packages of other platforms may be missing. */
function installedAsLocked(lock, noted) {
  if (!lock || !noted) return false;
  const wanted = Object.entries(lock.packages).filter(([path]) => path !== '');
  return (
    wanted.every(([path, entry]) => {
      const there = noted.packages[path];
      return there ? there.version === entry.version && existsSync(join(ROOT, path)) : entry.optional === true || entry.devOptional === true;
    }) && Object.keys(noted.packages).every((path) => path in lock.packages)
  );
}

function installPackages() {
  const lockfile = join(ROOT, 'package-lock.json');
  const stamp = join(MODULES, '.muster-lock');
  const hash = createHash('sha256').update(readFileSync(lockfile)).digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) return;
  if (!installedAsLocked(readJson(lockfile), readJson(join(MODULES, '.package-lock.json')))) {
    say('installing packages (npm ci --ignore-scripts)');
    const npm = process.env.npm_execpath;
    const args = ['ci', '--ignore-scripts', '--include=dev', '--include=optional', '--no-audit', '--no-fund', '--loglevel=error'];
    const done = npm && /\.c?js$/.test(npm) ? run(process.execPath, [npm, ...args]) : run('npm', args);
    if (!done) fail('npm could not install the packages; what it said is above. Once that is mended: npm ci --ignore-scripts');
  }
  writeFileSync(stamp, hash);
}

function onPath(...names) {
  const folders = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
  return names.some((name) =>
    folders.some((folder) => {
      try {
        accessSync(join(folder, name), constants.X_OK);
        return true;
      } catch {
        return false;
      }
    }),
  );
}

function aptInstall(...packages) {
  const root = process.getuid?.() === 0;
  if (!root && !(onPath('sudo') && spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0)) return false;
  const apt = (...args) => {
    const command = ['apt-get', '-y', '-q', ...args];
    const env = { DEBIAN_FRONTEND: 'noninteractive' };
    return root ? run(command[0], command.slice(1), env) : run('sudo', ['-n', 'env', 'DEBIAN_FRONTEND=noninteractive', ...command]);
  };
  const install = () => apt('install', '--no-install-recommends', ...packages);
  say(`installing ${packages.join(' and ')} (apt-get)`);
  // The lists of a fresh machine are empty or old: one update, one more try.
  return install() || (apt('update') && install());
}

function ensureRedis() {
  const servers = ['redis-server', 'valkey-server'];
  if (process.env.REDIS_SERVER || onPath(...servers)) return;
  const managers = [
    ['apt-get', 'sudo apt-get install -y redis-server', () => aptInstall('redis-server')],
    ['brew', 'brew install redis', () => run('brew', ['install', '--quiet', 'redis'])],
    ['dnf', 'sudo dnf install -y valkey'],
    ['apk', 'apk add redis'],
    ['pacman', 'sudo pacman -S --noconfirm valkey'],
    ['zypper', 'sudo zypper install -y redis'],
  ];
  const [, command, install] = managers.find(([name]) => onPath(name)) ?? [];
  if (install?.() && onPath(...servers)) return;
  if (command) fail(`a Redis server is needed and neither redis-server nor valkey-server is on PATH. Install one with: ${command}`);
  fail('a Redis server is needed: put redis-server or valkey-server on PATH (https://redis.io/docs/install)');
}

/** What stands before the replicas while they are restarted: all of it, unless one is asked for. */
function ensureBalancers(args) {
  // Debian has daemons where not everybody's PATH leads.
  process.env.PATH = [process.env.PATH, '/usr/sbin', '/usr/local/sbin'].join(delimiter);
  const packages = { nginx: 'nginx-light', haproxy: 'haproxy' };
  const names = Object.keys(packages);
  const named = names.filter((name) => args.includes(name) || args.includes(`--balancer=${name}`));
  const missing = () => (named.length > 0 ? named : names).filter((name) => !onPath(name));
  if (missing().length === 0) return;
  if (onPath('apt-get')) aptInstall(...missing().map((name) => packages[name]));
  else if (onPath('brew')) run('brew', ['install', '--quiet', ...missing()]);
  if (missing().length > 0) fail(`${missing().join(' and ')} must be on PATH: install what is missing, or name the other with --balancer`);
}

/** What renders the manifests; where it is missing and Go is there it is built, which takes a minute or two, once. */
function ensureKustomize() {
  const folder = join(process.env.TEST_CACHE ?? join(MODULES, '.cache'), 'muster-tests', 'kustomize');
  if (onPath('kustomize', 'kubectl') || existsSync(join(folder, 'kustomize'))) return;
  if (!onPath('go')) return say('neither kustomize nor kubectl nor Go is on PATH: the manifests are looked at, and not rendered');
  say('building kustomize (go build)');
  const args = ['-C', join(ROOT, 'scripts/kustomize'), 'build', '-o', `${folder}/`, 'sigs.k8s.io/kustomize/kustomize/v5'];
  if (!run('go', args)) say('kustomize could not be built: the manifests are looked at, and not rendered');
}

function* filesOf(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* filesOf(path);
    else yield path;
  }
}

/** What the build is made from, as names, sizes and times. */
function sourcesDigest() {
  const hash = createHash('sha256');
  const files = [...filesOf(join(ROOT, 'src')), join(ROOT, 'tsconfig.json'), join(ROOT, 'package-lock.json')].sort();
  for (const file of files) {
    const { size, mtimeMs } = statSync(file);
    hash.update(`${relative(ROOT, file)} ${size} ${mtimeMs}\n`);
  }
  return hash.digest('hex');
}

/** What is left in dist of a source file that is gone would still be imported, and published. */
function removeOrphans() {
  for (const file of filesOf(join(ROOT, 'dist'))) {
    const source = join(ROOT, 'src', relative(join(ROOT, 'dist'), file)).replace(/\.(d\.ts|js)$/, '.ts');
    if (!existsSync(source)) rmSync(file);
  }
}

function build({ always = false } = {}) {
  const main = join(ROOT, 'dist/main.js');
  const stamp = join(MODULES, '.muster-built');
  const digest = sourcesDigest();
  if (!always && existsSync(main) && existsSync(stamp) && readFileSync(stamp, 'utf8') === digest) return;
  say('building (tsc)');
  if (!run(process.execPath, [join(MODULES, 'typescript/bin/tsc'), '-p', 'tsconfig.json'])) fail('the build failed');
  removeOrphans();
  if (!existsSync(main)) fail('the build made no dist/main.js: src/main.ts is missing');
  chmodSync(main, 0o755);
  writeFileSync(stamp, digest);
}

/** Runs the command in our place: its streams are ours, signals to us are for it, and we end as it ended. */
function become(args) {
  const child = spawn(process.execPath, args, { cwd: ROOT, stdio: 'inherit' });
  for (const signal of FORWARDED) {
    // At a terminal Ctrl-C reaches the child by itself; twice would mean "at once" to it.
    process.on(signal, () => {
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    });
  }
  child.on('error', (error) => fail(error.message));
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code ?? 1);
    for (const name of FORWARDED) process.removeAllListeners(name);
    process.kill(process.pid, signal);
  });
}

const [command, ...args] = process.argv.slice(2);
const COMMANDS = {
  setup: () => {
    ensureRedis();
    build();
    say('ready');
  },
  build: () => build({ always: true }),
  test: () => {
    ensureRedis();
    build();
    become([join(MODULES, 'vitest/vitest.mjs'), 'run', ...args]);
  },
  demo: () => {
    ensureRedis();
    build();
    become([join(ROOT, 'dist/main.js'), 'demo', ...args]);
  },
  bench: () => {
    ensureRedis();
    build();
    become(['--import', 'tsx', join(ROOT, 'bench/main.ts'), ...args]);
  },
  rolling: () => {
    ensureRedis();
    ensureBalancers(args);
    build();
    become(['--import', 'tsx', join(ROOT, 'test/rolling/main.ts'), ...args]);
  },
  k8s: () => {
    ensureRedis();
    ensureKustomize();
    become([join(MODULES, 'vitest/vitest.mjs'), 'run', '--project', 'unit', 'test/unit/deploy', ...args]);
  },
  chaos: () => {
    ensureRedis();
    build();
    become(['--import', 'tsx', join(ROOT, 'test/chaos/main.ts'), ...args]);
  },
};

const action = Object.hasOwn(COMMANDS, command ?? '') ? COMMANDS[command] : undefined;
if (!action) fail(`usage: node scripts/run.mjs ${Object.keys(COMMANDS).join('|')} [arguments]`);
checkNode();
installPackages();
action();
