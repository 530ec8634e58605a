// A worker of the first contract, from its frozen protos alone: what the fleets in the field do, and no more.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"sync/atomic"
	"time"

	"example.com/legacy/gen/job"
	"example.com/legacy/gen/worker"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

type server struct {
	job.UnimplementedJobServiceServer
	id    string
	busy  atomic.Bool
	pings atomic.Int64
}

// RunJob "builds" for as long as the branch says; a job without a repository fails, though the call is OK.
func (s *server) RunJob(_ context.Context, request *job.JobRequest) (*job.JobResponse, error) {
	if !s.busy.CompareAndSwap(false, true) {
		return nil, errors.New("worker is busy")
	}
	defer s.busy.Store(false)
	log.Print("job ", request.JobId)
	if d, err := time.ParseDuration(request.Branch); err == nil {
		time.Sleep(d)
	}
	if request.RepoUrl == "" {
		return &job.JobResponse{JobId: request.JobId, Success: false, Error: "no repository"}, nil
	}
	return &job.JobResponse{JobId: request.JobId, Success: true, Logs: "built by " + s.id, ImageUrl: "registry/" + request.ImageName}, nil
}

func (s *server) Ping(context.Context, *job.PingRequest) (*job.PingResponse, error) {
	log.Print("ping ", s.pings.Add(1))
	status := job.WorkerStatus_FREE
	if s.busy.Load() {
		status = job.WorkerStatus_BUSY
	}
	return &job.PingResponse{WorkerId: s.id, Status: status}, nil
}

func main() {
	target, id := flag.String("target", "127.0.0.1:50051", "the orchestrator"), flag.String("id", fmt.Sprint("legacy-", time.Now().UnixNano()), "its id")
	flag.Parse()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	serving := grpc.NewServer()
	job.RegisterJobServiceServer(serving, &server{id: *id})
	go serving.Serve(listener)
	channel, err := grpc.NewClient(*target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	// Once, when it starts.
	info := &worker.WorkerInfo{Id: *id, Ip: "127.0.0.1", Port: int32(listener.Addr().(*net.TCPAddr).Port), Region: "eu"}
	ack, err := worker.NewWorkerServiceClient(channel).Register(context.Background(), info)
	if err != nil || !ack.Success {
		log.Fatal("not registered: ", ack.GetMessage(), err)
	}
	log.Print("registered as ", *id)
	select {}
}
