import { isIP } from 'node:net';
import type { Command } from 'commander';
import type { Api, CallOptions } from '../../sdk/connect.js';
import { Contract, type Worker, WorkerInfo } from '../../sdk/messages.js';
import { ask, type CallingOptions, callingOptions, example, present, printJson, withApi } from '../common.js';
import { Ended, Exit, usage } from '../exit.js';
import type { Io } from '../io.js';
import { parseCount, parsePair, parseWord } from '../parse.js';
import { CONTRACTS, plainWorker, workerStateWord } from '../plain.js';

type Act = (api: Api, ref: { pool: string; id: string }, options: { reason: string }, bounds: CallOptions) => Promise<{ worker: Worker | undefined }>;

const ACTS: { name: string; about: string; act: Act }[] = [
  { name: 'drain', about: 'Give a worker no more jobs; what it holds goes on', act: (api, ref, _, bounds) => api.drainWorker(ref, bounds) },
  { name: 'undrain', about: 'Give a drained worker jobs again', act: (api, ref, _, bounds) => api.undrainWorker(ref, bounds) },
  {
    name: 'evict',
    about: 'Declare a worker dead; what it holds is given to others',
    act: (api, ref, { reason }, bounds) => api.evictWorker({ ...ref, reason }, bounds),
  },
];

export function addWorkers(program: Command, io: Io): void {
  for (const { name, about, act } of ACTS) {
    const command = callingOptions(program.command(name).description(about), io).argument('<id>', "the worker's id");
    if (name === 'evict') command.option('--reason <text>', 'for the events', 'evicted by hand');
    example(command, `muster ${name} --pool hash worker-7`);
    command.action(async (id: string, options: CallingOptions & { reason?: string }) => {
      const { pool, reason = '' } = options;
      const worker = present((await withApi(options, (api) => ask(options, (bounds) => act(api, { pool, id }, { reason }, bounds)))).worker);
      if (options.output === 'json') return printJson(io, plainWorker(worker));
      if (name === 'drain' && worker.held.length > 0) io.tell(`it still holds ${worker.held.length} jobs`);
      await io.out(`${worker.id} ${workerStateWord(worker.state)}\n`);
    });
  }
  addRegister(program.command('worker').description('What is done for a worker that does not do it itself'), io);
}

interface RegisterOptions extends CallingOptions {
  id: string;
  address: string;
  contract: string;
  slots: number;
  region?: string;
  label?: Record<string, string>;
  boot?: string;
}

/** Attached workers are not dialed, so nobody else can register them. */
const DIALED = Object.keys(CONTRACTS).filter((word) => word !== 'attached');

function addRegister(worker: Command, io: Io): void {
  const register = callingOptions(worker.command('register').description('Put a dialed worker on the roll, such as any gRPC server'), io)
    .requiredOption('--id <id>', "the worker's id, unique in its pool")
    .requiredOption('--address <ip:port>', 'where replicas reach it')
    .option('--contract <contract>', `what it speaks: ${DIALED.join(', ')}`, parseWord('--contract', DIALED), 'method')
    .option('--slots <count>', 'how many jobs at once', parseCount('--slots', 1, 4_096), 1)
    .option('--region <region>', 'where it is, for people to see')
    .option('--label <key=value>', 'for people to see; may be repeated', parsePair('--label'))
    .option('--boot <boot>', 'new in every life of the worker (default: its address)');
  example(register, 'muster worker register --pool thumbs --id thumbs-1 --address 10.0.0.7:9000 --slots 4');
  register.action(async (options: RegisterOptions) => {
    const { id, pool, region, label, slots, boot, contract } = options;
    const info = WorkerInfo.fromPartial({
      id,
      pool,
      ...address(options.address),
      region,
      labels: label,
      slots,
      boot,
      contract: CONTRACTS[contract] ?? Contract.UNRECOGNIZED,
    });
    const ack = await withApi(options, (api) => ask(options, (bounds) => api.register(info, bounds)));
    if (!ack.success) throw new Ended(Exit.FAILED, `worker ${id} was not registered: ${ack.message}`);
    if (options.output === 'json') return printJson(io, { pool, id, address: options.address, boot: ack.boot, replica: ack.replica });
    io.tell(`registered; replica ${ack.replica} holds the link`);
    await io.out(`${id}\n`);
  });
}

function address(text: string): { ip: string; port: number } {
  const [, bracketed, bare, port] = /^(?:\[(.+)\]|([^:]+)):(\d{1,5})$/.exec(text) ?? [];
  const ip = bracketed ?? bare ?? '';
  if (isIP(ip) === 0 || Number(port) < 1 || Number(port) > 65_535)
    throw usage(`--address: ${JSON.stringify(text)} is none; write 10.0.0.7:9000 or [fd00::7]:9000`);
  return { ip, port: Number(port) };
}
