/**
 * Imported for its effect by every child of the demo (`node --import`, or first thing in its own entry): the child's stdin is a pipe from
 * the demo, and the kernel closes it when the demo is gone, even by SIGKILL. What the demo started must not outlive it.
 */
const { stdin } = process;
const gone = () => process.exit(1);
stdin.once('end', gone).once('error', gone).resume();
// By itself it is no reason to live on.
stdin.unref();
