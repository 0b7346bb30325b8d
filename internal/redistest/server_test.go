package redistest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDoAndInfo(t *testing.T) {
	s := Start(t, "--maxmemory-policy", "allkeys-lru")
	for _, c := range []struct {
		args []any
		want any
	}{
		{[]any{"SET", "k", "v"}, "OK"},
		{[]any{"GET", "k"}, "v"},
		{[]any{"GET", "none"}, nil},
		{[]any{"INCRBY", "n", 7}, int64(7)},
		{[]any{"MGET", "k", "none"}, []any{"v", nil}},
		{[]any{"CONFIG", "GET", "maxmemory-policy"}, []any{"maxmemory-policy", "allkeys-lru"}},
	} {
		if got, err := s.Do(c.args...); err != nil || fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%v gives %v, %v, not %v", c.args, got, err, c.want)
		}
	}
	if _, err := s.Do("INCR", "k"); err == nil || !strings.HasPrefix(err.Error(), "ERR value is not an integer") {
		t.Errorf("error %v", err)
	}
	if s.Info("replication", "role") != "master" || s.Info("replication", "none") != "" {
		t.Errorf("role %q", s.Info("replication", "role"))
	}
}

func TestRestartKeepsWhatTheArgumentsKeep(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want any
	}{
		{"append-only file", []string{"--appendonly", "yes", "--appendfsync", "always"}, "v"},
		{"nothing", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Start(t, c.args...)
			if _, err := s.Do("SET", "k", "v"); err != nil {
				t.Fatal(err)
			}
			pid, addr := s.Info("server", "process_id"), s.Addr
			s.Kill()
			if _, err := s.Do("PING"); err == nil || s.Running() || s.Info("server", "process_id") != "" {
				t.Fatal("a killed server answers")
			}
			s.Kill() // a dead one stays dead
			s.Restart()
			if got, err := s.Do("GET", "k"); err != nil || got != c.want {
				t.Errorf("GET gives %v, %v, not %v", got, err, c.want)
			}
			if s.Addr != addr || !s.Running() || s.Info("server", "process_id") == pid {
				t.Error("not a new process on the old address")
			}
			s.Restart() // from alive
		})
	}
}

func TestPausedServerAcceptsAndAnswersLater(t *testing.T) {
	s := Start(t)
	s.Pause()
	w := dial(t, s.Addr)
	w.send("INCR n")
	w.silent()
	if s.Running() {
		t.Error("running while paused")
	}
	begun := time.Now()
	if _, err := s.Do("PING"); err == nil || time.Since(begun) > 2*answerBound {
		t.Errorf("error %v after %v", err, time.Since(begun))
	}
	s.Resume()
	w.expect(":1")
	s.Pause()
	s.Kill() // also ends what is paused
	s.Restart()
}

func TestPortsAreNotGivenTwice(t *testing.T) {
	var mu sync.Mutex
	seen := map[int]bool{}
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			port := reservePort(t)
			mu.Lock()
			defer mu.Unlock()
			if seen[port] || port+busOffset > 32767 || port < 1024 {
				t.Errorf("port %d", port)
			}
			seen[port] = true
		})
	}
	all.Wait()
}

// A test process that dies takes its servers with it: this one is our own, started again as a child and killed.
func TestNoServerOutlivesTheTestProcess(t *testing.T) {
	const child = "REDISTEST_CHILD"
	if os.Getenv(child) != "" {
		s := Start(t)
		fmt.Println("server", s.process().pid, s.Port)
		if os.Getenv(child) == "panic" {
			panic("as asked")
		}
		select {}
	}
	for _, how := range []string{"kill", "panic"} {
		t.Run(how, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), longBound)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestNoServerOutlivesTheTestProcess$")
			cmd.Env = append(os.Environ(), child+"="+how, "TMPDIR="+t.TempDir())
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var pid, port int
			for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
				_, _ = fmt.Sscanf(lines.Text(), "server %d %d", &pid, &port)
			}
			if how == "kill" {
				_ = cmd.Process.Kill()
			}
			_ = cmd.Wait()
			if pid == 0 {
				t.Skip("redis-server is not on PATH")
			}
			t.Cleanup(func() {
				if t.Failed() {
					_ = syscall.Kill(-pid, syscall.SIGKILL)
				}
			})
			await(t, settleBound, "the server is gone", func() string {
				if conn, err := net.Dial("tcp", address(port)); err == nil {
					conn.Close()
					return "it accepts"
				}
				if err := syscall.Kill(pid, 0); err == nil && !zombie(pid) {
					return "it lives"
				}
				return ""
			})
		})
	}
}

// zombie: a container's first process may never reap what it inherits.
func zombie(pid int) bool {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return strings.Contains(string(stat), ") Z ")
}
