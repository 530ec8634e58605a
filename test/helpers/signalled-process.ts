import { endWithSignals } from '../../src/sdk/signals.js';

/** Told to stop, it drains at once, and has something else that keeps it alive: it ends by the signal, or not at all. */
endWithSignals({ drain: async () => void process.stdout.write('drained\n'), abort: async () => {} });
setInterval(() => {}, 1_000);
process.kill(process.pid, 'SIGTERM');
