"""An attached worker: it opens a stream to the replicas and jobs come down it; nothing dials it."""

import asyncio
import random
import signal

import grpc
import work
from muster.v1 import common_pb2, worker_pb2, worker_pb2_grpc


class Attempt:
    def __init__(self, task):
        self.task, self.result, self.revoked = task, None, False


class Worker:
    def __init__(self, me):
        self.me, self.replicas = me, worker_pb2_grpc.WorkerServiceStub(grpc.aio.insecure_channel(me.target))
        self.attempts = {}  # (job, fence) → Attempt, until its result is settled
        self.newest = {}  # job → fence
        self.outbox = None  # of the stream in use
        self.opening, self.leaving, self.over, self.beat_s = None, False, asyncio.Event(), 1

    def held(self):
        return [common_pb2.Held(job_id=job, fence=fence, done=a.result is not None) for (job, fence), a in self.attempts.items()]

    def send(self, **frame):
        if self.outbox:
            self.outbox.put_nowait(worker_pb2.AttachRequest(**frame))

    def open(self):
        """Attaches until a Welcome came; one at a time. The old stream goes on meanwhile."""
        if not self.opening:
            self.opening = asyncio.create_task(self.attach())

    async def attach(self):
        me = asyncio.current_task()
        while self.opening is me:
            outbox = asyncio.Queue()
            info = worker_pb2.WorkerInfo(
                id=self.me.id, pool=self.me.pool, slots=self.me.slots, boot=self.me.boot, contract=common_pb2.CONTRACT_ATTACHED, kinds=work.KINDS
            )
            outbox.put_nowait(worker_pb2.AttachRequest(hello=worker_pb2.Hello(worker=info, held=self.held())))
            try:
                async for frame in self.replicas.Attach(frames(outbox)):
                    self.read(outbox, frame)
            except grpc.aio.AioRpcError as error:
                print("attaching again:", error.details(), flush=True)
            outbox.put_nowait(None)
            if self.leaving and not self.attempts:
                return self.over.set()
            if self.outbox is outbox:
                self.outbox = None
                self.opening = self.opening or me
            if self.opening is me:
                await asyncio.sleep(random.uniform(0.1, 1))

    def read(self, outbox, frame):
        what = frame.WhichOneof("frame")
        if what == "welcome":
            if self.outbox:
                self.outbox.put_nowait(None)
            self.outbox, self.opening = outbox, None
            self.beat_s = frame.welcome.beat_interval.ToTimedelta().total_seconds() / 2
            self.revoke(frame.welcome.abandon)
            for attempt in self.attempts.values():
                self.tell(attempt)
            self.leave()
        elif what == "assign":
            for assignment in frame.assign.assignments:
                self.assigned(assignment)
        elif what == "cancel":
            for held in frame.cancel.held:
                if (held.job_id, held.fence) in self.attempts:
                    self.attempts[held.job_id, held.fence].task.cancel()
        elif what == "revoke":
            self.revoke(frame.revoke.held)
        elif what == "settled":
            for settlement in frame.settled.settlements:
                if settlement.verdict != worker_pb2.VERDICT_UNSPECIFIED:
                    self.attempts.pop((settlement.job_id, settlement.fence), None)
            self.leave()
        elif what == "reattach":
            self.open()  # make before break
        elif what == "ping":
            outbox.put_nowait(worker_pb2.AttachRequest(pong=worker_pb2.Pong(nonce=frame.ping.nonce, held=self.held())))

    def assigned(self, assignment):
        job, fence = lease = assignment.job_id, assignment.fence
        if lease in self.attempts:  # never twice
            return self.tell(self.attempts[lease])
        if fence < self.newest.get(job, 0):
            return self.refuse(lease, assignment, grpc.StatusCode.FAILED_PRECONDITION)
        if assignment.kind not in work.KINDS:
            return self.refuse(lease, assignment, grpc.StatusCode.UNIMPLEMENTED)
        if len(self.newest) > 10_000:
            self.newest.clear()
        self.newest[job] = fence
        for other, older in self.attempts.items():
            if other[0] == job:
                older.task.cancel()
        task = asyncio.create_task(work.run(assignment))
        self.attempts[lease] = Attempt(task)
        # A task that is cancelled before its first step has no result.
        task.add_done_callback(lambda t: self.ended(lease, work.failed(assignment, grpc.StatusCode.CANCELLED, "aborted") if t.cancelled() else t.result()))

    def refuse(self, lease, assignment, code):
        self.attempts[lease] = Attempt(None)
        self.ended(lease, work.failed(assignment, code, f"refused: {code.name}"))

    def ended(self, lease, result):
        attempt = self.attempts[lease]
        if attempt.revoked:
            del self.attempts[lease]
            self.stopped(*lease)
            return self.leave()
        attempt.result = result
        self.tell(attempt)

    def tell(self, attempt):
        if attempt.result:
            self.send(results=worker_pb2.Results(results=[attempt.result]))

    def revoke(self, leases):
        """Stops what is no longer ours; that it stopped is said by Received."""
        for held in leases:
            attempt = self.attempts.get((held.job_id, held.fence))
            if attempt and not attempt.result:
                attempt.revoked = True
                attempt.task.cancel()
            else:
                self.attempts.pop((held.job_id, held.fence), None)
                self.stopped(held.job_id, held.fence)

    def stopped(self, job, fence):
        self.send(received=worker_pb2.Received(held=[common_pb2.Held(job_id=job, fence=fence, done=True)]))

    def leave(self):
        """When told to: says Goodbye, and ends the stream once nothing is held."""
        if self.leaving and self.outbox:
            self.send(goodbye=worker_pb2.Goodbye())
            if not self.attempts:
                self.outbox.put_nowait(None)

    def stop(self):
        self.leaving = True
        self.leave()
        if not self.outbox and not self.attempts:
            self.over.set()

    async def beat(self):
        while True:
            await asyncio.sleep(self.beat_s)
            if self.attempts:
                self.send(beat=worker_pb2.Beat(held=self.held()))


async def frames(outbox):
    while (frame := await outbox.get()) is not None:
        yield frame


async def main():
    worker = Worker(work.arguments())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, worker.stop)
    beating = asyncio.create_task(worker.beat())
    worker.open()
    await worker.over.wait()
    beating.cancel()


asyncio.run(main())
