"""What both workers do, by kind, and how its end is told; and who they are."""

import argparse
import asyncio
import json
import time

from grpc import StatusCode
from muster.v1.common_pb2 import Failure, Result


class Permanent(Exception):
    """Repeating the job would not mend it."""


async def shout(assignment):
    return assignment.payload.upper()


runs = 0


async def conform(assignment):
    """For `muster conform`."""
    global runs
    runs += 1
    run, asked = runs, json.loads(assignment.payload)
    await asyncio.sleep(asked.get("sleep_ms", 0) / 1000)
    if asked.get("fail"):
        raise Permanent("told to fail") if asked.get("permanent") else RuntimeError("told to fail")
    return f"{asked.get('echo', '')} {assignment.attempt} {run}".encode()


KINDS = {"shout": shout, "muster.conform": conform}


def failed(assignment, code, message, retryable=True):
    failure = Failure(code=code.value[0], message=message, retryable=retryable)
    return Result(job_id=assignment.job_id, fence=assignment.fence, failure=failure)


async def run(assignment):
    """Its end as a Result, whatever it is; cancelled: that is its end."""
    timeout = assignment.run_timeout.ToTimedelta().total_seconds() if assignment.HasField("run_timeout") else None
    try:
        output = await asyncio.wait_for(KINDS[assignment.kind](assignment), timeout)
        return Result(job_id=assignment.job_id, fence=assignment.fence, output=output)
    except (asyncio.TimeoutError, TimeoutError):
        return failed(assignment, StatusCode.DEADLINE_EXCEEDED, "its time was over")
    except asyncio.CancelledError:
        return failed(assignment, StatusCode.CANCELLED, "aborted")
    except Exception as error:
        return failed(assignment, StatusCode.UNKNOWN, str(error), not isinstance(error, Permanent))


def arguments():
    flags = argparse.ArgumentParser()
    flags.add_argument("--target", default="127.0.0.1:50051", help="the replicas")
    flags.add_argument("--pool", default="default")
    flags.add_argument("--id", default="python-1", help="unique in the pool")
    flags.add_argument("--slots", type=int, default=1, help="jobs at once, for an attached worker")
    # New in every life of the process.
    flags.set_defaults(boot=str(time.time_ns()))
    return flags.parse_args()
