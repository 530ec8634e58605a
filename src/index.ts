/** The orchestrator as a library: what `muster serve` is made of. Workers and clients import `muster-grpc/sdk`. */
export { type Config, ConfigError, readConfig } from './config.js';
export { MusterError } from './domain/errors.js';
export { WorkerManager } from './fleet/worker-manager.js';
export { newServer, type Services, startGrpcServer } from './grpc/server.js';
export { OrchestratorGrpcServer } from './grpc/worker-service.js';
export { Replica, type ReplicaOptions } from './lifecycle/replica.js';
export { runService } from './lifecycle/service.js';
