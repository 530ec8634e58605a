/*
 * Both sides of gearmand for the bench, with its own client library: `gearman worker PORT CONCURRENCY` and `gearman submitter PORT BYTES`.
 *
 * The library's calls block, so each worker, and each job that is outstanding, is a thread with a connection of its own: the way that its
 * manual shows.
 */
#include <libgearman/gearman.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FUNCTION "noop"
#define HOST "127.0.0.1"
#define STACK_BYTES (256 * 1024)
#define MAX_OUTSTANDING 1024

static in_port_t port;
static char *payload;
static size_t payload_bytes;

static void fail(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static int64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static pthread_t start(void *(*run)(void *), void *argument) {
  pthread_t thread;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  if (pthread_create(&thread, &attributes, run, argument) != 0) fail("thread", "could not start");
  return thread;
}

/* The library frees what this returns. */
static void *noop(gearman_job_st *job, void *context, size_t *bytes, gearman_return_t *outcome) {
  (void)context;
  *bytes = gearman_job_workload_size(job);
  void *result = malloc(*bytes);
  memcpy(result, gearman_job_workload(job), *bytes);
  *outcome = GEARMAN_SUCCESS;
  return result;
}

static void *work(void *unused) {
  (void)unused;
  gearman_worker_st *worker = gearman_worker_create(NULL);
  if (gearman_worker_add_server(worker, HOST, port) != GEARMAN_SUCCESS ||
      gearman_worker_add_function(worker, FUNCTION, 0, noop, NULL) != GEARMAN_SUCCESS)
    fail("worker", gearman_worker_error(worker));
  while (gearman_worker_work(worker) == GEARMAN_SUCCESS) {
  }
  fail("worker", gearman_worker_error(worker));
  return NULL;
}

struct lane {
  gearman_client_st *client;
  pthread_t thread;
  int64_t end_us;
  uint32_t *latencies;
  size_t count, room;
};

static void *submit(void *argument) {
  struct lane *lane = argument;
  for (int64_t from = now_us(); from < lane->end_us;) {
    size_t bytes;
    gearman_return_t outcome;
    void *result = gearman_client_do(lane->client, FUNCTION, NULL, payload, payload_bytes, &bytes, &outcome);
    if (outcome != GEARMAN_SUCCESS) fail("submitter", gearman_client_error(lane->client));
    if (bytes != payload_bytes || memcmp(result, payload, bytes) != 0) fail("submitter", "a job ended otherwise than it should");
    free(result);
    int64_t now = now_us();
    if (lane->count == lane->room) {
      lane->room = lane->room == 0 ? 1024 : lane->room * 2;
      lane->latencies = realloc(lane->latencies, lane->room * sizeof *lane->latencies);
    }
    lane->latencies[lane->count++] = (uint32_t)(now - from);
    from = now;
  }
  return NULL;
}

static void follow_orders(void) {
  static struct lane lanes[MAX_OUTSTANDING];
  int outstanding;
  long ms;
  while (scanf("%d %ld", &outstanding, &ms) == 2) {
    if (outstanding > MAX_OUTSTANDING) fail("submitter", "too many outstanding");
    int64_t from = now_us();
    for (int i = 0; i < outstanding; i++) {
      struct lane *lane = &lanes[i];
      lane->count = 0;
      lane->end_us = from + ms * 1000;
      if (lane->client == NULL) {
        lane->client = gearman_client_create(NULL);
        if (gearman_client_add_server(lane->client, HOST, port) != GEARMAN_SUCCESS) fail("submitter", gearman_client_error(lane->client));
      }
      lane->thread = start(submit, lane);
    }
    for (int i = 0; i < outstanding; i++) pthread_join(lanes[i].thread, NULL);
    printf("%lld", (long long)(now_us() - from));
    for (int i = 0; i < outstanding; i++)
      for (size_t k = 0; k < lanes[i].count; k++) printf(" %u", lanes[i].latencies[k]);
    printf("\n");
    fflush(stdout);
  }
}

int main(int count, char **arguments) {
  if (count != 4) fail("usage", "gearman worker PORT CONCURRENCY | gearman submitter PORT BYTES");
  port = (in_port_t)atoi(arguments[2]);
  int number = atoi(arguments[3]);
  int worker = strcmp(arguments[1], "worker") == 0;
  if (worker) {
    for (int i = 0; i < number; i++) start(work, NULL);
  } else {
    payload_bytes = (size_t)number;
    payload = malloc(payload_bytes);
    memset(payload, 'x', payload_bytes);
  }
  printf("ready\n");
  fflush(stdout);
  if (!worker) {
    follow_orders();
    return 0;
  }
  /* Its threads are what runs. */
  pthread_exit(NULL);
}
