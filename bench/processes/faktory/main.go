// Command faktory is both sides of Faktory for the bench: `faktory worker CONCURRENCY` and `faktory submitter BYTES`. FAKTORY_URL says where
// its server is.
//
// Faktory keeps no results, so a worker sends each back as a job of a second queue, which the submitter works off.
package main

import (
	"bufio"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	faktory "github.com/contribsys/faktory/client"
)

const (
	kind    = "noop"
	jobs    = "jobs"
	results = "results"
	// Each fetcher is a connection that waits for the next job, as Faktory's own library for workers has it.
	resultFetchers = 64
	// A worker that has not been heard of for a minute is taken for dead.
	beat  = 10 * time.Second
	retry = 100 * time.Millisecond
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: faktory worker CONCURRENCY | faktory submitter BYTES")
	}
	count, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	// Makes connections those of a worker, which alone may fetch.
	faktory.RandomProcessWid = strconv.Itoa(os.Getpid()) + "-" + os.Args[1]
	go keepAlive()
	if os.Args[1] == "worker" {
		fetch(jobs, count, func(connection *faktory.Client, job *faktory.Job) error {
			// With an id of its own, as Faktory knows what is under way by id.
			result := faktory.NewJob(kind, job.Jid, job.Args[0])
			result.Queue = results
			return connection.Push(result)
		})
		fmt.Println("ready")
		select {}
	}
	submit(strings.Repeat("x", count))
}

func open() *faktory.Client {
	connection, err := faktory.Open()
	if err != nil {
		log.Fatal(err)
	}
	return connection
}

func keepAlive() {
	for connection := open(); ; time.Sleep(beat) {
		if _, err := connection.Beat(); err != nil {
			connection.Close()
			connection = open()
		}
	}
}

// fetch works off a queue with that many connections.
func fetch(queue string, count int, handle func(*faktory.Client, *faktory.Job) error) {
	work := func(connection *faktory.Client) error {
		for {
			job, err := connection.Fetch(queue)
			if err == nil && job != nil {
				if err = handle(connection, job); err == nil {
					err = connection.Ack(job.Jid)
				}
			}
			if err != nil {
				return err
			}
		}
	}
	for range count {
		connection := open()
		go func() {
			for {
				err := work(connection)
				// Closed on us, as between two turns that lie far apart.
				fmt.Fprintln(os.Stderr, err)
				connection.Close()
				time.Sleep(retry)
				connection = open()
			}
		}()
	}
}

func submit(payload string) {
	var waiting sync.Map
	fetch(results, resultFetchers, func(_ *faktory.Client, job *faktory.Job) error {
		if len(job.Args) != 2 || job.Args[1] != payload {
			log.Fatalf("a job ended otherwise than it should: %v", job.Args)
		}
		// One that is delivered twice is nobody's any more.
		if ended, here := waiting.LoadAndDelete(job.Args[0]); here {
			close(ended.(chan struct{}))
		}
		return nil
	})
	var connections []*faktory.Client
	fmt.Println("ready")
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		var outstanding, ms int
		if _, err := fmt.Sscan(orders.Text(), &outstanding, &ms); err != nil {
			log.Fatal(err)
		}
		for len(connections) < outstanding {
			connections = append(connections, open())
		}
		answer(outstanding, time.Duration(ms)*time.Millisecond, func(lane int) {
			job := faktory.NewJob(kind, payload)
			job.Queue = jobs
			ended := make(chan struct{})
			waiting.Store(job.Jid, ended)
			if err := connections[lane].Push(job); err != nil {
				log.Fatal(err)
			}
			<-ended
		})
	}
}

// answer keeps that many jobs under way for so long, then tells what each took.
func answer(outstanding int, span time.Duration, job func(lane int)) {
	from := time.Now()
	latencies := make([][]int64, outstanding)
	var lanes sync.WaitGroup
	for lane := range latencies {
		lanes.Add(1)
		go func() {
			defer lanes.Done()
			for start := time.Now(); start.Sub(from) < span; {
				job(lane)
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
