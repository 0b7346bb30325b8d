//go:build failpoint

package redis

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/failpoint"
	"github.com/oncegate/oncegate/internal/redisconn"
	"github.com/oncegate/oncegate/internal/redistest"
)

const childEnv = "ONCEGATE_TEST_REDIS_CHILD"

// TestKilledBeforeTheReply: at K2 and K9 the step was sent, and its process is gone before it knows.
func TestKilledBeforeTheReply(t *testing.T) {
	if addr := os.Getenv(childEnv); addr != "" {
		childOf(addr)
		return
	}
	server := redistest.Start(t)
	for place, want := range map[string]record.State{failpoint.BeginSent: record.InFlight, failpoint.FinishSent: record.Completed} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledBeforeTheReply$")
		cmd.Env = append(os.Environ(), childEnv+"="+server.Addr, "ONCEGATE_FAILPOINT="+place+"@2")
		out, err := cmd.CombinedOutput()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
			t.Fatalf("%s: ended by %v\n%s", place, err, out)
		}
		s := open(t, Config{Server: redisconn.Server{Mode: redisconn.Single, Addresses: []string{server.Addr}}, Prefix: "child"}, Deps{})
		await(t, 5*time.Second, place+": what was sent is executed", func() bool {
			r, err := s.Look(context.Background(), numbered(1))
			return err == nil && r.State == want
		})
		if r, err := s.Look(context.Background(), numbered(2)); err != nil || r.State != record.Absent {
			t.Errorf("%s: it went on: %+v, %v", place, r, err)
		}
		if _, err := server.Do("FLUSHALL"); err != nil {
			t.Fatal(err)
		}
	}
}

// childOf writes two keys and dies at the second visit of its failpoint.
func childOf(addr string) {
	s, err := Open(context.Background(), Config{Server: redisconn.Server{Mode: redisconn.Single, Addresses: []string{addr}}, Prefix: "child"}, Deps{})
	if err != nil {
		panic(err)
	}
	for i := range 3 {
		if _, err := begin(s, numbered(i), claim(token(i))); err != nil {
			panic(err)
		}
		if _, err := finish(s, numbered(i), token(i), result(record.Completed)); err != nil {
			panic(err)
		}
	}
	panic("nothing killed it")
}
