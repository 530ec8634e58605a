// Package work is what both workers do, by kind, and how its end is told.
package work

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	pb "example.com/muster/gen/muster/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Permanent is an error that repeating the job would not mend.
type Permanent struct{ error }

// Kinds are the jobs that the workers know. They end when ctx does.
var Kinds = map[string]func(ctx context.Context, a *pb.Assignment) ([]byte, error){
	"shout": func(_ context.Context, a *pb.Assignment) ([]byte, error) { return bytes.ToUpper(a.Payload), nil },
	// For `muster conform`.
	"muster.conform": conform,
}

// Names of the kinds, for WorkerInfo.
func Names() (names []string) {
	for name := range Kinds {
		names = append(names, name)
	}
	return names
}

// Context of one attempt: it ends after the run timeout.
func Context(parent context.Context, a *pb.Assignment) (context.Context, context.CancelFunc) {
	if a.GetRunTimeout() == nil {
		return context.WithCancel(parent)
	}
	return context.WithTimeout(parent, a.RunTimeout.AsDuration())
}

// Busy is how a dialed worker refuses more than it has slots for.
var Busy = status.Error(codes.ResourceExhausted, "every slot is taken")

// Run does the work and tells its end as a Result; UNIMPLEMENTED: the kind is not known here.
func Run(ctx context.Context, a *pb.Assignment) (*pb.Result, error) {
	run, known := Kinds[a.GetKind()]
	if !known {
		return nil, status.Errorf(codes.Unimplemented, "kind %q is not known here", a.GetKind())
	}
	output, err := run(ctx, a)
	return resultOf(a, output, err), nil
}

func resultOf(a *pb.Assignment, output []byte, err error) *pb.Result {
	var permanent Permanent
	switch {
	case err == nil:
		return &pb.Result{JobId: a.JobId, Fence: a.Fence, Outcome: &pb.Result_Output{Output: output}}
	case errors.Is(err, context.DeadlineExceeded):
		return Failed(a, codes.DeadlineExceeded, "its time was over", true)
	case errors.Is(err, context.Canceled):
		return Failed(a, codes.Canceled, "aborted", true)
	default:
		return Failed(a, codes.Unknown, err.Error(), !errors.As(err, &permanent))
	}
}

// Failed is the Result of an attempt that did not succeed.
func Failed(a *pb.Assignment, code codes.Code, message string, retryable bool) *pb.Result {
	failure := &pb.Failure{Code: int32(code), Message: message, Retryable: retryable}
	return &pb.Result{JobId: a.JobId, Fence: a.Fence, Outcome: &pb.Result_Failure{Failure: failure}}
}

var runs atomic.Int64

func conform(ctx context.Context, a *pb.Assignment) ([]byte, error) {
	run := runs.Add(1)
	var asked struct {
		SleepMs         int64 `json:"sleep_ms"`
		Fail, Permanent bool
		Echo            string
	}
	if err := json.Unmarshal(a.Payload, &asked); err != nil {
		return nil, Permanent{err}
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(time.Duration(asked.SleepMs) * time.Millisecond):
	}
	if asked.Fail && asked.Permanent {
		return nil, Permanent{errors.New("told to fail")}
	}
	if asked.Fail {
		return nil, errors.New("told to fail")
	}
	return fmt.Appendf(nil, "%s %d %d", asked.Echo, a.Attempt, run), nil
}
