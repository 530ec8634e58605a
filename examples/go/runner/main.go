// A dialed worker with one slot. An attempt ends with its call, which is enough for the basic level of `muster conform`.
package main

import (
	"context"
	"log"
	"net"
	"sync/atomic"
	"time"

	pb "example.com/muster/gen/muster/v1"
	"example.com/muster/work"
	"google.golang.org/grpc"
)

type attempt struct {
	*pb.Assignment
	stop context.CancelFunc
}

type runner struct {
	pb.UnimplementedRunnerServiceServer
	id   string
	boot string
	slot atomic.Pointer[attempt]
}

func (r *runner) Execute(call context.Context, request *pb.ExecuteRequest) (*pb.ExecuteResponse, error) {
	ctx, stop := work.Context(call, request.Assignment)
	defer stop()
	if !r.slot.CompareAndSwap(nil, &attempt{request.Assignment, stop}) {
		return nil, work.Busy
	}
	defer r.slot.Store(nil)
	result, err := work.Run(ctx, request.Assignment)
	return &pb.ExecuteResponse{Answer: &pb.ExecuteResponse_Result{Result: result}}, err
}

func (r *runner) Abort(_ context.Context, lease *pb.AbortRequest) (*pb.AbortResponse, error) {
	if a := r.slot.Load(); a != nil && a.JobId == lease.JobId && a.Fence == lease.Fence {
		a.stop()
	}
	return &pb.AbortResponse{}, nil
}

func (r *runner) Probe(context.Context, *pb.ProbeRequest) (*pb.ProbeResponse, error) {
	if a := r.slot.Load(); a != nil {
		held := []*pb.Held{{JobId: a.JobId, Fence: a.Fence}}
		return &pb.ProbeResponse{WorkerId: r.id, Boot: r.boot, Status: pb.RunnerStatus_RUNNER_STATUS_BUSY, Held: held}, nil
	}
	return &pb.ProbeResponse{WorkerId: r.id, Boot: r.boot, Status: pb.RunnerStatus_RUNNER_STATUS_FREE}, nil
}

func main() {
	info, replicas, term := work.Setup(pb.Contract_CONTRACT_RUNNER)
	listener := work.Must(net.Listen("tcp", "127.0.0.1:0"))
	info.Ip, info.Port = "127.0.0.1", int32(listener.Addr().(*net.TCPAddr).Port)
	server := grpc.NewServer()
	pb.RegisterRunnerServiceServer(server, &runner{id: info.Id, boot: info.Boot})
	go server.Serve(listener)
	for ; term.Err() == nil; work.Pause(term, time.Second) { // on the roll, and back on it when it is not
		pong, err := replicas.Ping(term, &pb.PingRequest{Pool: info.Pool, Id: info.Id, Boot: info.Boot})
		if err == nil && !pong.Healthy {
			_, err = replicas.Register(term, info)
			log.Print("registering at port ", info.Port, ": ", err)
		}
	}
	replicas.Deregister(context.Background(), &pb.DeregisterRequest{Pool: info.Pool, Id: info.Id, Boot: info.Boot})
	server.GracefulStop() // takes nothing new, and waits for what runs
}
