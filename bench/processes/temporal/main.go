// Command temporal is both sides of Temporal for the bench: `temporal worker ADDRESS CONCURRENCY` and `temporal submitter ADDRESS BYTES`.
//
// A job is a workflow that gives back its input: an activity within it would be the more usual place for the work, and about as much again.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.temporal.io/sdk/client"
	tlog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

const queue = "noop"

func noop(_ workflow.Context, data string) (string, error) {
	return data, nil
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: temporal worker ADDRESS CONCURRENCY | temporal submitter ADDRESS BYTES")
	}
	count, err := strconv.Atoi(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	quiet := tlog.NewStructuredLogger(slog.New(slog.NewTextHandler(io.Discard, nil)))
	connection, err := client.Dial(client.Options{HostPort: os.Args[2], Logger: quiet})
	if err != nil {
		log.Fatal(err)
	}
	if os.Args[1] == "worker" {
		work(connection, count)
		return
	}
	submit(connection, strings.Repeat("x", count))
}

func work(connection client.Client, concurrency int) {
	w := worker.New(connection, queue, worker.Options{
		MaxConcurrentWorkflowTaskExecutionSize: concurrency,
		// Its guide to the performance of workers: more pollers where tasks wait for them.
		MaxConcurrentWorkflowTaskPollers: concurrency,
		DisableRegistrationAliasing:      true,
	})
	w.RegisterWorkflowWithOptions(noop, workflow.RegisterOptions{Name: "noop"})
	if err := w.Start(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	select {}
}

func submit(connection client.Client, payload string) {
	fmt.Println("ready")
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		var outstanding, ms int
		if _, err := fmt.Sscan(orders.Text(), &outstanding, &ms); err != nil {
			log.Fatal(err)
		}
		answer(outstanding, time.Duration(ms)*time.Millisecond, func() {
			run, err := connection.ExecuteWorkflow(context.Background(), client.StartWorkflowOptions{TaskQueue: queue}, "noop", payload)
			if err != nil {
				log.Fatal(err)
			}
			var result string
			if err := run.Get(context.Background(), &result); err != nil {
				log.Fatal(err)
			}
			if result != payload {
				log.Fatalf("a workflow ended otherwise than it should: %q", result)
			}
		})
	}
}

// answer keeps that many jobs under way for so long, then tells what each took.
func answer(outstanding int, span time.Duration, job func()) {
	from := time.Now()
	latencies := make([][]int64, outstanding)
	var lanes sync.WaitGroup
	for lane := range latencies {
		lanes.Add(1)
		go func() {
			defer lanes.Done()
			for start := time.Now(); start.Sub(from) < span; {
				job()
				now := time.Now()
				latencies[lane] = append(latencies[lane], now.Sub(start).Microseconds())
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
