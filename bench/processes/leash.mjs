/** Ends this process when the one that started it is gone, however that ended. */
process.once('disconnect', () => process.exit(0));
// Watching must not keep the process alive.
process.channel?.unref();
