package work

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os/signal"
	"syscall"
	"time"

	pb "example.com/muster/gen/muster/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Unary calls of a worker end after a while; a stream does not.
const deadlines = `{"methodConfig": [{"timeout": "15s", "name": [
	{"service": "muster.v1.WorkerService", "method": "Register"},
	{"service": "muster.v1.WorkerService", "method": "Ping"},
	{"service": "muster.v1.WorkerService", "method": "Deregister"}]}]}`

// Setup reads the flags: who the worker is, where the replicas are, and what ends at SIGTERM.
func Setup(contract pb.Contract) (*pb.WorkerInfo, pb.WorkerServiceClient, context.Context) {
	target, pool := flag.String("target", "127.0.0.1:50051", "the replicas"), flag.String("pool", "default", "the pool")
	id, slots := flag.String("id", "go-1", "unique in the pool"), flag.Uint("slots", 1, "jobs at once, for an attached worker")
	flag.Parse()
	term, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	channel := Must(grpc.NewClient(*target, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultServiceConfig(deadlines)))
	// New in every life of the process.
	boot := fmt.Sprint(time.Now().UnixNano())
	info := &pb.WorkerInfo{Id: *id, Pool: *pool, Slots: uint32(*slots), Boot: boot, Contract: contract, Kinds: Names()}
	return info, pb.NewWorkerServiceClient(channel), term
}

// Must ends the process with the error, if there is one.
func Must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

// Pause ends early with ctx.
func Pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
