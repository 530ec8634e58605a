// Command asynq is both sides of asynq for the bench: `asynq worker PORT CONCURRENCY` and `asynq submitter PORT BYTES`.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
)

const (
	kind  = "noop"
	queue = "default"
	// How often its worker looks for tasks while there are none: a second by default, which would be its latency here.
	taskCheck = time.Millisecond
	// A result has to be kept to be read at all.
	retention = time.Minute
	// asynq tells nobody that a task has ended, so its state is polled. Seldom costs latency, often costs Redis. The shortest wait, and the
	// part of the last task's latency that is waited between two looks.
	pollMin  = 500 * time.Microsecond
	pollPart = 8
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: asynq worker PORT CONCURRENCY | asynq submitter PORT BYTES")
	}
	count, err := strconv.Atoi(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	redis := asynq.RedisClientOpt{Addr: "127.0.0.1:" + os.Args[2]}
	if os.Args[1] == "worker" {
		work(redis, count)
		return
	}
	submit(redis, strings.Repeat("x", count))
}

func work(redis asynq.RedisClientOpt, concurrency int) {
	server := asynq.NewServer(redis, asynq.Config{Concurrency: concurrency, TaskCheckInterval: taskCheck, LogLevel: asynq.WarnLevel})
	handlers := asynq.NewServeMux()
	handlers.HandleFunc(kind, func(_ context.Context, task *asynq.Task) error {
		_, err := task.ResultWriter().Write(task.Payload())
		return err
	})
	if err := server.Start(handlers); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	select {}
}

func submit(redis asynq.RedisClientOpt, payload string) {
	client := asynq.NewClient(redis)
	inspector := asynq.NewInspector(redis)
	fmt.Println("ready")
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		var outstanding, ms int
		if _, err := fmt.Sscan(orders.Text(), &outstanding, &ms); err != nil {
			log.Fatal(err)
		}
		answer(outstanding, time.Duration(ms)*time.Millisecond, func(last time.Duration) {
			info, err := client.Enqueue(asynq.NewTask(kind, []byte(payload)), asynq.Retention(retention))
			if err != nil {
				log.Fatal(err)
			}
			// What the one before took is what this one will take, about.
			time.Sleep(last / 2)
			for info.State != asynq.TaskStateCompleted {
				time.Sleep(max(pollMin, last/pollPart))
				if info, err = inspector.GetTaskInfo(queue, info.ID); err != nil {
					log.Fatal(err)
				}
			}
			if string(info.Result) != payload {
				log.Fatalf("a task ended otherwise than it should: %q", info.Result)
			}
		})
	}
}

// answer keeps that many jobs under way for so long; `job` is told how long the one before took.
func answer(outstanding int, span time.Duration, job func(last time.Duration)) {
	from := time.Now()
	latencies := make([][]int64, outstanding)
	var lanes sync.WaitGroup
	for lane := range latencies {
		lanes.Add(1)
		go func() {
			defer lanes.Done()
			last := time.Duration(0)
			for start := time.Now(); start.Sub(from) < span; {
				job(last)
				now := time.Now()
				last = now.Sub(start)
				latencies[lane] = append(latencies[lane], last.Microseconds())
				start = now
			}
		}()
	}
	lanes.Wait()
	line := []byte(strconv.FormatInt(time.Since(from).Microseconds(), 10))
	for _, lane := range latencies {
		for _, us := range lane {
			line = strconv.AppendInt(append(line, ' '), us, 10)
		}
	}
	fmt.Println(string(line))
}
