/** For clients and workers: calls, waiting that survives replicas, and a dialed worker. Pulls in neither Redis nor BullMQ. */
export { ApiError } from './api-error.js';
export { type Api, type ConnectOptions, connect } from './connect.js';
export * from './messages.js';
export { runToEnd } from './run.js';
export { type Handler, PermanentError, type Runner, type RunnerOptions, startRunner } from './runner.js';
