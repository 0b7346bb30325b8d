// Package redistest starts real redis-server processes for tests: one server, a Sentinel fleet, a cluster, and a TCP proxy that
// disturbs the way to any of them.
//
// It promises that every process ends with its test, also when that fails, and with the test process on Linux, also when that
// panics or is killed; that every wait is bounded; and that a test is skipped only when redis-server is not on PATH. It doesn't
// promise quiet: servers keep no data over a Restart unless the test's own arguments ask for an append-only file. What goes wrong
// fails the test.
package redistest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Bounds of all waits. The long one is for whole failovers on a busy machine.
const (
	answerBound = 3 * time.Second
	settleBound = 10 * time.Second
	longBound   = 30 * time.Second
	pollEvery   = 20 * time.Millisecond
)

const (
	logName  = "server.log"
	confName = "redis.conf"
)

// Server is one redis-server process on loopback with a folder, a port and a configuration file of its own, all of which outlive
// the process. Redis rewrites the file itself, so roles given by Sentinel survive a Restart. Safe for concurrent use.
type Server struct {
	Addr string // host:port
	Port int
	Dir  string

	t        testing.TB
	path     string
	argv     []string
	greeting []any // a command for a process that has just begun to answer

	mu     sync.Mutex
	proc   *process
	paused bool
	client *redis.Client
}

// Start starts one server and waits until it answers. args are appended to its command line: "--appendonly", "yes".
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := launch(t, dataConf, args...)
	s.awaitReady()
	return s
}

var dataConf = []string{
	`save ""`, // a snapshot would be a restart's surprise
	"repl-diskless-sync-delay 0",
	"repl-ping-replica-period 1",
}

// launch starts a server without waiting for it, so that many can load side by side.
func launch(t testing.TB, conf []string, args ...string) *Server {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not on PATH")
	}
	dir, port := t.TempDir(), reservePort(t)
	lines := append([]string{"bind 127.0.0.1", "port " + strconv.Itoa(port), fmt.Sprintf("dir %q", dir)}, conf...)
	file := filepath.Join(dir, confName)
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: address(port), Port: port, Dir: dir, t: t, path: path, argv: append([]string{file}, args...)}
	t.Cleanup(s.stop)
	s.spawn()
	return s
}

func (s *Server) spawn() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	proc, err := spawn(s.path, s.Dir, s.argv)
	if err != nil {
		s.t.Fatal(err)
	}
	s.proc, s.paused = proc, false
	s.freshClient()
}

// awaitReady waits until our own process answers; another one on the port doesn't count.
func (s *Server) awaitReady() {
	s.t.Helper()
	pid := strconv.Itoa(s.process().pid)
	await(s.t, longBound, s.Addr+" answers", func() string {
		if s.process().exited() {
			s.t.Fatalf("redis-server on %s ended:\n%s", s.Addr, s.Log())
		}
		conn, err := net.DialTimeout("tcp", s.Addr, answerBound) // the client would log each refusal
		if err != nil {
			return err.Error()
		}
		conn.Close()
		if pong, err := s.Do("PING"); err != nil || pong != "PONG" {
			return fmt.Sprintf("PING gives %v, %v", pong, err)
		}
		if got := s.Info("server", "process_id"); got != pid {
			return fmt.Sprintf("process %s answers, not %s", got, pid)
		}
		return ""
	})
	if s.greeting != nil {
		s.must(s.greeting...)
	}
}

func (s *Server) process() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc
}

// Running tells whether the process lives and isn't paused.
func (s *Server) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc != nil && !s.proc.exited() && !s.paused
}

// Kill ends the process with SIGKILL and returns when it is gone. A dead one stays dead.
func (s *Server) Kill() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.proc.kill(); err != nil {
		s.t.Errorf("kill %s: %v", s.Addr, err)
	}
	s.paused = false
	s.freshClient()
}

// Pause stops the process with SIGSTOP: it keeps its connections, accepts more by the kernel's backlog, and answers none.
func (s *Server) Pause() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.proc.pause(); err != nil {
		s.t.Errorf("pause %s: %v", s.Addr, err)
		return
	}
	s.paused = true
}

// Resume ends a Pause; what was sent meanwhile is executed now.
func (s *Server) Resume() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.proc.signal(syscall.SIGCONT); err != nil {
		s.t.Errorf("resume %s: %v", s.Addr, err)
		return
	}
	s.paused = false
}

// Restart kills the process if it lives, starts it on the same folder, port and arguments, and waits until it answers.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	s.spawn()
	s.awaitReady()
}

// revive has a dead or paused server run again.
func (s *Server) revive() {
	s.t.Helper()
	s.mu.Lock()
	dead, paused := s.proc.exited(), s.paused
	s.mu.Unlock()
	if dead {
		s.Restart()
	} else if paused {
		s.Resume()
	}
}

// Log gives the last lines of what the process wrote.
func (s *Server) Log() string {
	text, err := os.ReadFile(filepath.Join(s.Dir, logName))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-20000):])
}

func (s *Server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		if err := s.proc.kill(); err != nil {
			s.t.Errorf("end %s: %v", s.Addr, err)
		}
	}
	if s.client != nil {
		s.client.Close()
	}
}
