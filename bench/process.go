package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// process is a contestant: its address and the processes whose time it is charged.
type process struct {
	address string
	cmd     *exec.Cmd
}

func command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Stderr = os.Stderr
	return c
}

// spawn starts a contestant and waits until it takes connections.
func spawn(address, stdout string, name string, args ...string) (*process, error) {
	c := command(name, args...)
	out, err := os.Create(stdout)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	c.Stdout = out
	if err := c.Start(); err != nil {
		return nil, err
	}
	p := &process{address, c}
	for range 200 {
		if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
			conn.Close()
			return p, nil
		}
		time.Sleep(25 * time.Millisecond)
	}
	p.stop()
	return nil, fmt.Errorf("%s does not take connections on %s", name, address)
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	done := make(chan struct{})
	go func() { _ = p.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-done
	}
}

// cpu is the user and system time of the process and its children so far (nginx and HAProxy work in children).
func (p *process) cpu() time.Duration {
	total := ran(p.cmd.Process.Pid)
	for _, pid := range children(p.cmd.Process.Pid) {
		total += ran(pid)
	}
	return total
}

func children(parent int) []int {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
	var pids []int
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for _, word := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// ran adds up how long the threads of a process were on a processor, in nanoseconds (the first field of /proc/PID/task/TID/schedstat).
// Threads that have ended are missing: Go and the peers keep theirs.
func ran(pid int) (total time.Duration) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		ns, _, _ := bytes.Cut(text, []byte{' '})
		n, _ := strconv.ParseInt(string(ns), 10, 64)
		total += time.Duration(n)
	}
	return total
}

// memory reads a line such as VmRSS or VmHWM of /proc/PID/status, in KiB.
func (p *process) memory(name string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(text), "\n") {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n
		}
	}
	return 0
}

func freeAddress() string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer ln.Close()
	return ln.Addr().String()
}
