"""The task and the settings that both sides of Celery share. REDIS_URL says where its broker and its results are."""

import os

from celery import Celery
from celery.signals import worker_ready

url = os.environ["REDIS_URL"]
app = Celery("noop", broker=url, backend=url)
app.conf.update(
    # Nothing is sent that only monitors read: both are off by default too.
    task_send_sent_event=False,
    worker_send_task_events=False,
    # For short tasks its guide ("Optimizing", prefetch limits) wants many at hand: 64 x 4 is all that the bench has outstanding.
    worker_prefetch_multiplier=4,
    # Rates would be looked up for each task.
    worker_disable_rate_limits=True,
    worker_redirect_stdouts=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="noop")
def noop(data):
    return data


@worker_ready.connect
def tell(**_):
    print("ready", flush=True)
