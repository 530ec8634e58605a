/** Preloaded into a replica that was started with --expose-gc: answers 'heap' on its channel with the bytes that are in use once all garbage is gone. */
process.on('message', (message) => {
  if (message !== 'heap') return;
  globalThis.gc();
  globalThis.gc();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  process.send({ heapUsed, arrayBuffers });
});
process.channel?.unref();
