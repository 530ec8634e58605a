import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { findRedisBinary, startEmbeddedRedis } from '../../src/lifecycle/embedded-redis.js';
import { ownRedis } from '../helpers/redis.js';
import { until } from '../helpers/until.js';

/** One inline command, its answer as it came; '' when nothing came within `timeoutMs`. */
function command(port: number, line: string, timeoutMs = 2_000): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    const end = (answer: string) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(timeoutMs, () => end(''));
    socket.once('error', () => end(''));
    socket.once('data', (data) => end(data.toString()));
    socket.write(`${line}\r\n`);
  });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

const folder = mkdtempSync(join(tmpdir(), 'muster-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('it answers on its url, keeps to the loopback and evicts nothing', async () => {
  const redis = await ownRedis({ maxmemory: '64mb' });
  expect(await command(redis.port, 'PING')).toBe('+PONG\r\n');
  expect(redis.url).toBe(`redis://127.0.0.1:${redis.port}`);
  expect(await command(redis.port, 'CONFIG GET bind')).toContain('127.0.0.1');
  expect(await command(redis.port, 'CONFIG GET maxmemory-policy')).toContain('noeviction');
  expect(await command(redis.port, 'CONFIG GET maxmemory')).toContain(String(64 * 1024 * 1024));
  expect(await command(redis.port, 'INFO server')).toContain(`process_id:${redis.pid}`);
});

test('stop ends the process and removes its temporary folder, and may be called twice', async () => {
  const redis = await startEmbeddedRedis();
  const { pid, dir } = redis;
  expect(existsSync(dir)).toBe(true);
  await redis.stop();
  await redis.stop();
  expect(isAlive(pid)).toBe(false);
  expect(existsSync(dir)).toBe(false);
});

test('after SIGKILL and restart it has its port and, with an append-only file, its data again', async () => {
  const redis = await ownRedis({ appendonly: true, appendfsync: 'always' });
  const before = redis.pid;
  expect(await command(redis.port, 'SET key value')).toBe('+OK\r\n');
  redis.kill();
  await until(() => !isAlive(before), { what: 'the death of the server' });
  await redis.restart();
  expect(redis.pid).not.toBe(before);
  expect(await command(redis.port, 'GET key')).toBe('$5\r\nvalue\r\n');
});

test('a paused server answers nothing until it is resumed, and can be stopped while paused', async () => {
  const redis = await ownRedis();
  redis.pause();
  expect(await command(redis.port, 'PING', 200)).toBe('');
  redis.resume();
  expect(await command(redis.port, 'PING')).toBe('+PONG\r\n');
  redis.pause();
  const { pid } = redis;
  await redis.stop();
  expect(isAlive(pid)).toBe(false);
});

test('a folder that was given stays', async () => {
  const dir = join(folder, 'kept');
  const redis = await startEmbeddedRedis({ dir, appendonly: true });
  await redis.stop();
  expect(existsSync(join(dir, 'appendonlydir'))).toBe(true);
});

test('a port that is taken is refused with what the server said', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const address = other.address();
  const port = address !== null && typeof address === 'object' ? address.port : 0;
  await expect(startEmbeddedRedis({ port })).rejects.toThrow(/Address already in use/);
  other.close();
});

test('without a server on PATH the message names the command that installs one', () => {
  expect(() => findRedisBinary(folder, join(folder, 'none'))).toThrow(/^REDIS_SERVER: .*none is no program that may be run$/);
  expect(findRedisBinary('', process.execPath)).toBe(process.execPath);
  expect(() => findRedisBinary(folder, '')).toThrow(/install one: (sudo apt-get install -y redis-server|brew install redis)$/);
});

test('a server does not outlive a parent that was killed with SIGKILL', async () => {
  const module = new URL('../../src/lifecycle/embedded-redis.ts', import.meta.url).href;
  const program = `const { startEmbeddedRedis } = await import(${JSON.stringify(module)});
    const redis = await startEmbeddedRedis();
    process.stdout.write(JSON.stringify({ pid: redis.pid, dir: redis.dir }) + '\\n');
    process.stdin.resume();`;
  const parent = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program], { stdio: ['pipe', 'pipe', 'inherit'] });
  const [line] = (await once(parent.stdout, 'data')) as [Buffer];
  const { pid, dir } = JSON.parse(line.toString()) as { pid: number; dir: string };
  expect(isAlive(pid)).toBe(true);
  parent.kill('SIGKILL');
  await until(() => !isAlive(pid) && !existsSync(dir), { what: 'the end of the server and its folder' });
});

test('a started server does not keep its parent running', async () => {
  const module = new URL('../../src/lifecycle/embedded-redis.ts', import.meta.url).href;
  const program = `const { startEmbeddedRedis } = await import(${JSON.stringify(module)}); console.log((await startEmbeddedRedis()).pid);`;
  const parent = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(parent.stdout, 'data')) as [Buffer];
  const [code] = (await once(parent, 'exit')) as [number];
  expect(code).toBe(0);
  await until(() => !isAlive(Number(line.toString())), { what: 'the end of the server' });
});
