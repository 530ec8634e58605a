import { expect, test } from 'vitest';
import { fields, readConfig } from '../../src/config.js';

test('the defaults agree with each other', () => {
  expect(readConfig({})).toMatchObject({ LEASE_MS: 30_000, BEAT_MS: 10_000, INSECURE: false, DIAL_ALLOW: [] });
});

test('the environment is read, and flags go over it', () => {
  const config = readConfig({ MUSTER_BEAT_MS: '9000', MUSTER_INSECURE: 'true', MUSTER_DIAL_ALLOW: '10.0.0.0/8, 10.1.0.0/16' }, { BEAT_MS: '8000' });
  expect(config).toMatchObject({ BEAT_MS: 8_000, INSECURE: true, DIAL_ALLOW: ['10.0.0.0/8', '10.1.0.0/16'] });
});

test.each([
  ['MUSTER_LEASE_MS', 'soon', /MUSTER_LEASE_MS: /],
  ['MUSTER_LEASE_MS', '0', /MUSTER_LEASE_MS: /],
  ['MUSTER_LEASE_MS', '1.5', /MUSTER_LEASE_MS: /],
  ['MUSTER_BATCH_MAX', '100000', /MUSTER_BATCH_MAX: /],
  ['MUSTER_LOG_LEVEL', 'loud', /MUSTER_LOG_LEVEL: /],
  ['MUSTER_INSECURE', 'perhaps', /MUSTER_INSECURE: /],
  ['MUSTER_REDIS_URL', 'redis+sentinel://redis:26379', /MUSTER_REDIS_URL: not of the form/],
  ['MUSTER_REDIS_URL', 'redis+cluster://redis:6379/1', /MUSTER_REDIS_URL: not of the form .*: a Cluster has no databases/],
  ['MUSTER_REDIS_CA', 'ca.pem', /MUSTER_REDIS_CA is for TLS, and MUSTER_REDIS_URL names none: write rediss instead of redis/],
  ['MUSTER_REDIS_SERVER_NAME', 'redis', /MUSTER_REDIS_SERVER_NAME is for TLS/],
  ['MUSTER_LAESE_MS', '1', /MUSTER_LAESE_MS: no such setting; `muster config` lists them/],
])('%s=%s is refused, and the message names it', (name, value, message) => {
  expect(() => readConfig({ [name]: value })).toThrow(message);
});

test('an insecure replica listens on loopback unless it is told where', () => {
  const addresses = ({ GRPC_ADDR, HTTP_ADDR }: { GRPC_ADDR: string; HTTP_ADDR: string }) => [GRPC_ADDR, HTTP_ADDR];
  expect(addresses(readConfig({}))).toEqual(['0.0.0.0:50051', '0.0.0.0:8080']);
  expect(addresses(readConfig({ MUSTER_INSECURE: 'true' }))).toEqual(['127.0.0.1:50051', '127.0.0.1:8080']);
  expect(addresses(readConfig({}, { INSECURE: true }))).toEqual(['127.0.0.1:50051', '127.0.0.1:8080']);
  expect(addresses(readConfig({ MUSTER_INSECURE: 'true', MUSTER_GRPC_ADDR: '0.0.0.0:50051' }, { HTTP_ADDR: '' }))).toEqual(['0.0.0.0:50051', '']);
});

test('a certificate for Redis goes with its key, and with TLS', () => {
  const env = { MUSTER_REDIS_URL: 'rediss+cluster://a', MUSTER_REDIS_CERT: 'cert.pem' };
  expect(() => readConfig(env)).toThrow('MUSTER_REDIS_CERT and MUSTER_REDIS_KEY go together');
  expect(readConfig({ ...env, MUSTER_REDIS_KEY: 'key.pem' })).toMatchObject({ REDIS_CERT: 'cert.pem', REDIS_KEY: 'key.pem' });
});

test('times that do not agree are refused with both names; at the boundary and beside it', () => {
  expect(() => readConfig({ MUSTER_BEAT_MS: '15000' })).toThrow('MUSTER_BEAT_MS (15000) times 2 must be less than MUSTER_LEASE_MS (30000)');
  expect(readConfig({ MUSTER_BEAT_MS: '14999' }).BEAT_MS).toBe(14_999);
});

test('there is room for the connections of all workers', () => {
  const said = 'MUSTER_MAX_CONNECTIONS (4999) must not be less than MUSTER_MAX_LINKS (5000): an attached worker has a connection of its own';
  expect(() => readConfig({ MUSTER_MAX_CONNECTIONS: '4999' })).toThrow(said);
  expect(readConfig({ MUSTER_MAX_CONNECTIONS: '5000' }).MAX_CONNECTIONS).toBe(5_000);
});

test('all times of ours scale together in tests, and only there', () => {
  expect(() => readConfig({ MUSTER_TIME_SCALE: '0.1' })).toThrow('MUSTER_INSECURE');
  const scaled = readConfig({ MUSTER_TIME_SCALE: '0.1', MUSTER_INSECURE: 'true' });
  expect(scaled).toMatchObject({ LEASE_MS: 3_000, HOME_TTL_MS: 600, REDIS_TIMEOUT_MS: 800, RETENTION_MS: 3_600_000 });
});

test('every setting says what it is for', () => {
  for (const [name, field] of Object.entries(fields)) expect(field.description, name).toMatch(/\S/);
});
