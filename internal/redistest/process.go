package redistest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// process is one started redis-server; done is closed when it was reaped.
type process struct {
	pid  int
	done chan struct{}
}

// spawn starts path in dir, in its own process group, with its output appended to dir/server.log. Its goroutine ends with the
// process, and stays on one thread until then: the death signal comes when the starting thread ends, not when the process does.
func spawn(path, dir string, args []string) (*process, error) {
	log, err := os.OpenFile(filepath.Join(dir, logName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = dir, log, log, attributes()
	p := &process{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := cmd.Start()
		log.Close()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed: its status tells nothing
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	return p, nil
}

func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// signal reaches the whole group: the server and the child that writes its snapshot.
func (p *process) signal(sig syscall.Signal) error {
	if p.exited() {
		return os.ErrProcessDone
	}
	return syscall.Kill(-p.pid, sig)
}

// kill returns when the process is gone.
func (p *process) kill() error {
	err := p.signal(syscall.SIGKILL)
	select {
	case <-p.done:
		return nil
	case <-time.After(settleBound):
		return fmt.Errorf("process %d did not end: %w", p.pid, err)
	}
}

// pause returns when the process is stopped: the signal alone says only that it will be.
func (p *process) pause() error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for end := time.Now().Add(settleBound); !stopped(p.pid); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("process %d did not stop", p.pid)
		}
	}
	return nil
}
