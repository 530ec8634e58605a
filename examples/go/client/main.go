// Runs one job and prints its output: client [-pool P] KIND PAYLOAD
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	pb "example.com/muster/gen/muster/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

func main() {
	target, pool := flag.String("target", "127.0.0.1:50051", "the replicas"), flag.String("pool", "default", "the pool")
	flag.Parse()
	channel, err := grpc.NewClient(*target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	jobs := pb.NewJobServiceClient(channel)
	// An id of our own: asked again after a broken call, it is the same job, not another one.
	spec := &pb.JobSpec{Id: fmt.Sprintf("go-%d-%d", os.Getpid(), time.Now().UnixNano()), Pool: *pool, Work: &pb.JobSpec_Kind{Kind: flag.Arg(0)}, Payload: []byte(flag.Arg(1))}
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		answer, err := jobs.RunJob(ctx, &pb.RunJobRequest{Spec: spec})
		cancel()
		switch code := status.Code(err); {
		case code == codes.Unavailable || code == codes.DeadlineExceeded || code == codes.Canceled:
			time.Sleep(500 * time.Millisecond)
		case err != nil:
			log.Fatal(err)
		case answer.Job.State == pb.JobState_JOB_STATE_SUCCEEDED:
			os.Stdout.Write(answer.Job.GetOutput())
			return
		case answer.Job.State > pb.JobState_JOB_STATE_SUCCEEDED:
			log.Fatalf("%s: %s", answer.Job.State, answer.Job.GetFailure().GetMessage())
		} // else it goes on: wait again
	}
}
