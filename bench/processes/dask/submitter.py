"""Keeps tasks of Dask under way: `submitter.py SCHEDULER BYTES`. One line in, `outstanding milliseconds`; one line out, `microseconds latency ...`.

The asynchronous client on its own event loop: the synchronous one would pass each result from one thread to another.
"""

import asyncio
import itertools
import sys
from time import perf_counter

import uvloop
from distributed import Client

PAYLOAD = b"x" * int(sys.argv[2])
keys = itertools.count()


def noop(data):
    return data


async def lane(client, end, latencies):
    start = perf_counter()
    while start < end:
        # A key of its own: a task with the same arguments would not be run again. Its result goes with the future.
        result = await client.submit(noop, PAYLOAD, key=f"noop-{next(keys)}")
        if result != PAYLOAD:
            sys.exit(f"a task ended otherwise than it should: {result!r}")
        now = perf_counter()
        latencies.append(round((now - start) * 1_000_000))
        start = now


async def drive(client, outstanding, milliseconds):
    began = perf_counter()
    latencies = []
    await asyncio.gather(*(lane(client, began + milliseconds / 1000, latencies) for _ in range(outstanding)))
    return [round((perf_counter() - began) * 1_000_000), *latencies]


async def main():
    async with Client(sys.argv[1], asynchronous=True, set_as_default=False) as client:
        await client.wait_for_workers(1)
        print("ready", flush=True)
        lines = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while line := await lines.readline():
            print(" ".join(map(str, await drive(client, *map(int, line.split())))), flush=True)


uvloop.run(main())
