"""A dialed worker with one slot. An attempt ends with its call, which is enough for the basic level of `muster conform`."""

import asyncio
import contextlib
import signal

import grpc
import work
from muster.v1 import common_pb2, runner_pb2, runner_pb2_grpc, worker_pb2, worker_pb2_grpc


class Runner(runner_pb2_grpc.RunnerServiceServicer):
    def __init__(self, id, boot):
        self.id, self.boot, self.held, self.task = id, boot, [], None

    async def Execute(self, request, context):
        assignment = request.assignment
        if assignment.kind not in work.KINDS:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"kind {assignment.kind} is not known here")
        if self.held:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the slot is taken")
        self.held = [common_pb2.Held(job_id=assignment.job_id, fence=assignment.fence)]
        self.task = asyncio.create_task(work.run(assignment))
        try:
            return runner_pb2.ExecuteResponse(result=await self.task)
        finally:
            self.held = []

    async def Abort(self, request, context):
        if any((held.job_id, held.fence) == (request.job_id, request.fence) for held in self.held):
            self.task.cancel()
        return runner_pb2.AbortResponse()

    async def Probe(self, request, context):
        status = runner_pb2.RUNNER_STATUS_BUSY if self.held else runner_pb2.RUNNER_STATUS_FREE
        return runner_pb2.ProbeResponse(worker_id=self.id, boot=self.boot, status=status, held=self.held)


async def main():
    me = work.arguments()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = grpc.aio.server()
    runner_pb2_grpc.add_RunnerServiceServicer_to_server(Runner(me.id, me.boot), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    replicas = worker_pb2_grpc.WorkerServiceStub(grpc.aio.insecure_channel(me.target))
    name = {"id": me.id, "pool": me.pool, "boot": me.boot}
    while not stop.is_set():  # on the roll, and back on it when it is not
        try:
            if not (await replicas.Ping(worker_pb2.PingRequest(**name), timeout=5)).healthy:
                info = worker_pb2.WorkerInfo(ip="127.0.0.1", port=port, contract=common_pb2.CONTRACT_RUNNER, kinds=work.KINDS, **name)
                await replicas.Register(info, timeout=15)
                print(f"registered at port {port}", flush=True)
        except grpc.aio.AioRpcError as error:
            print(error.code(), error.details(), flush=True)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stop.wait(), 1)
    await asyncio.gather(replicas.Deregister(worker_pb2.DeregisterRequest(**name), timeout=5), return_exceptions=True)
    await server.stop(grace=300)  # takes nothing new, and waits for what runs


asyncio.run(main())
