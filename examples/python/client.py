"""Runs one job and prints its output: client.py [--pool P] KIND PAYLOAD"""

import argparse
import sys
import time
import uuid

import grpc
from muster.v1 import job_pb2, job_pb2_grpc

flags = argparse.ArgumentParser()
flags.add_argument("--target", default="127.0.0.1:50051", help="the replicas")
flags.add_argument("--pool", default="default")
flags.add_argument("kind")
flags.add_argument("payload")
asked = flags.parse_args()
jobs = job_pb2_grpc.JobServiceStub(grpc.insecure_channel(asked.target))
# An id of our own: asked again after a broken call, it is the same job, not another one.
spec = job_pb2.JobSpec(id=str(uuid.uuid4()), pool=asked.pool, kind=asked.kind, payload=asked.payload.encode())
BROKEN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
while True:
    try:
        job = jobs.RunJob(job_pb2.RunJobRequest(spec=spec), timeout=30).job
    except grpc.RpcError as error:
        if error.code() not in BROKEN:
            sys.exit(f"{error.code()}: {error.details()}")
        time.sleep(0.5)
        continue
    if job.state == job_pb2.JOB_STATE_SUCCEEDED:
        sys.stdout.buffer.write(job.output)
        break
    if job.state > job_pb2.JOB_STATE_SUCCEEDED:
        sys.exit(f"{job_pb2.JobState.Name(job.state)}: {job.failure.message}")
    # else it goes on: wait again
