// An attached worker: it opens a stream to the replicas and jobs come down it; nothing dials it.
package main

import (
	"context"
	"log"
	"math/rand"
	"os"
	"sync"
	"time"

	pb "example.com/muster/gen/muster/v1"
	"example.com/muster/work"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type lease struct {
	job   string
	fence uint64
}

type attempt struct {
	stop    context.CancelFunc
	result  *pb.Result // what its end was; kept until it is settled
	revoked bool
}

type worker struct {
	replicas pb.WorkerServiceClient
	info     *pb.WorkerInfo

	mu       sync.Mutex // guards what follows, and sending
	stream   pb.WorkerService_AttachClient
	opening  bool
	leaving  bool
	attempts map[lease]*attempt
	newest   map[string]uint64
	beat     *time.Ticker
}

// held is everything that runs or is not settled.
func (w *worker) held() (held []*pb.Held) {
	for l, a := range w.attempts {
		held = append(held, &pb.Held{JobId: l.job, Fence: l.fence, Done: a.result != nil})
	}
	return held
}

func (w *worker) send(frame *pb.AttachRequest) {
	if w.stream != nil {
		w.stream.Send(frame) // that it broke, Recv tells
	}
}

func (w *worker) sendResult(result *pb.Result) {
	w.send(&pb.AttachRequest{Frame: &pb.AttachRequest_Results{Results: &pb.Results{Results: []*pb.Result{result}}}})
}

// open attaches, until a Welcome came; one at a time. The old stream goes on meanwhile.
func (w *worker) open() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.opening {
		w.opening = true
		go w.attach()
	}
}

func (w *worker) attach() {
	stream, err := w.replicas.Attach(context.Background())
	for ; err != nil; stream, err = w.replicas.Attach(context.Background()) {
		time.Sleep(time.Duration(100+rand.Intn(900)) * time.Millisecond)
	}
	w.mu.Lock()
	hello := &pb.Hello{Worker: w.info, Held: w.held()}
	w.mu.Unlock()
	stream.Send(&pb.AttachRequest{Frame: &pb.AttachRequest_Hello{Hello: hello}})
	for {
		frame, err := stream.Recv()
		if err != nil {
			w.lost(stream, err)
			return
		}
		w.read(stream, frame)
	}
}

func (w *worker) lost(stream pb.WorkerService_AttachClient, err error) {
	w.mu.Lock()
	current, welcomed := w.stream == stream, !w.opening
	done := w.leaving && len(w.attempts) == 0
	if current {
		w.stream = nil
	}
	w.mu.Unlock()
	switch {
	case done:
		os.Exit(0)
	case !current && welcomed: // another one took over
	default:
		log.Printf("attaching again: %v", err)
		time.Sleep(time.Duration(100+rand.Intn(900)) * time.Millisecond)
		if current {
			w.open()
		} else {
			w.attach()
		}
	}
}

func (w *worker) read(stream pb.WorkerService_AttachClient, frame *pb.AttachResponse) {
	if frame.GetReattach() != nil {
		w.open() // make before break
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch f := frame.Frame.(type) {
	case *pb.AttachResponse_Welcome:
		old := w.stream
		w.stream, w.opening = stream, false
		if old != nil {
			old.CloseSend()
		}
		w.beat.Reset(f.Welcome.BeatInterval.AsDuration() / 2)
		w.revoke(f.Welcome.Abandon)
		for _, a := range w.attempts {
			if a.result != nil {
				w.sendResult(a.result)
			}
		}
		w.leave()
	case *pb.AttachResponse_Assign:
		for _, a := range f.Assign.Assignments {
			w.assigned(a)
		}
	case *pb.AttachResponse_Cancel:
		for _, h := range f.Cancel.Held {
			if a := w.attempts[lease{h.JobId, h.Fence}]; a != nil {
				a.stop()
			}
		}
	case *pb.AttachResponse_Revoke:
		w.revoke(f.Revoke.Held)
	case *pb.AttachResponse_Settled:
		for _, s := range f.Settled.Settlements {
			if s.Verdict != pb.Verdict_VERDICT_UNSPECIFIED {
				delete(w.attempts, lease{s.JobId, s.Fence})
			}
		}
		w.leave()
	case *pb.AttachResponse_Ping:
		stream.Send(&pb.AttachRequest{Frame: &pb.AttachRequest_Pong{Pong: &pb.Pong{Nonce: f.Ping.Nonce, Held: w.held()}}})
	}
}

func (w *worker) assigned(a *pb.Assignment) {
	l := lease{a.JobId, a.Fence}
	if known := w.attempts[l]; known != nil { // never twice
		if known.result != nil {
			w.sendResult(known.result)
		}
		return
	}
	ctx, stop := work.Context(context.Background(), a)
	w.attempts[l] = &attempt{stop: stop}
	if a.Fence < w.newest[a.JobId] {
		w.ended(l, work.Failed(a, codes.FailedPrecondition, "the fence is stale", true))
		return
	}
	if len(w.newest) > 10_000 {
		clear(w.newest)
	}
	w.newest[a.JobId] = a.Fence
	for other, older := range w.attempts {
		if other.job == a.JobId && other != l {
			older.stop()
		}
	}
	go func() {
		result, err := work.Run(ctx, a)
		if err != nil {
			result = work.Failed(a, status.Code(err), err.Error(), true)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.ended(l, result)
	}()
}

func (w *worker) ended(l lease, result *pb.Result) {
	a := w.attempts[l]
	a.stop()
	if !a.revoked {
		a.result = result
		w.sendResult(result)
		return
	}
	delete(w.attempts, l)
	w.stopped(l)
	w.leave()
}

// revoke stops what is no longer ours; that it stopped is said by Received.
func (w *worker) revoke(held []*pb.Held) {
	for _, h := range held {
		l := lease{h.JobId, h.Fence}
		a := w.attempts[l]
		if a != nil && a.result == nil {
			a.revoked = true
			a.stop()
			continue
		}
		delete(w.attempts, l)
		w.stopped(l)
	}
}

func (w *worker) stopped(l lease) {
	held := []*pb.Held{{JobId: l.job, Fence: l.fence, Done: true}}
	w.send(&pb.AttachRequest{Frame: &pb.AttachRequest_Received{Received: &pb.Received{Held: held}}})
}

// leave, when told to: says Goodbye, and ends the stream once nothing is held.
func (w *worker) leave() {
	if !w.leaving || w.stream == nil {
		return
	}
	w.send(&pb.AttachRequest{Frame: &pb.AttachRequest_Goodbye{Goodbye: &pb.Goodbye{}}})
	if len(w.attempts) == 0 {
		w.stream.CloseSend()
	}
}

func main() {
	info, replicas, term := work.Setup(pb.Contract_CONTRACT_ATTACHED)
	w := &worker{replicas: replicas, info: info, attempts: map[lease]*attempt{}, newest: map[string]uint64{}, beat: time.NewTicker(time.Second)}
	w.open()
	for {
		select {
		case <-w.beat.C:
			w.mu.Lock()
			if len(w.attempts) > 0 {
				w.send(&pb.AttachRequest{Frame: &pb.AttachRequest_Beat{Beat: &pb.Beat{Held: w.held()}}})
			}
			w.mu.Unlock()
		case <-term.Done():
			term = context.Background()
			w.mu.Lock()
			if len(w.attempts) == 0 && w.stream == nil {
				os.Exit(0)
			}
			w.leaving = true
			w.leave()
			w.mu.Unlock()
		}
	}
}
