"""Keeps tasks of Celery under way: `submitter.py BYTES`. One line in, `outstanding milliseconds`; one line out, `microseconds latency ...`.

One thread and callbacks, as each thread that waited in `get` would cost a lock and a wake-up more a task: `then` is called from the loop that
reads the results' channel.
"""

import sys
from time import perf_counter

from noop import app, noop

PAYLOAD = "x" * int(sys.argv[1])


def drive(outstanding, milliseconds):
    began = perf_counter()
    end = began + milliseconds / 1000
    latencies = []
    running = 0

    def submit():
        nonlocal running
        running += 1
        start = perf_counter()

        def ended(result):
            nonlocal running
            running -= 1
            now = perf_counter()
            latencies.append(round((now - start) * 1_000_000))
            if result.result != PAYLOAD:
                sys.exit(f"a task ended otherwise than it should: {result.state} {result.result!r}")
            if now < end:
                submit()

        noop.delay(PAYLOAD).then(ended)

    for _ in range(outstanding):
        submit()
    while running > 0:
        app.backend.result_consumer.drain_events(timeout=1)
    return [round((perf_counter() - began) * 1_000_000), *latencies]


print("ready", flush=True)
for line in sys.stdin:
    print(" ".join(map(str, drive(*map(int, line.split())))), flush=True)
