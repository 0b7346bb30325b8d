package observe

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	flushAfter  = 50 * time.Millisecond
	flushAt     = 64 << 10 // bytes
	maxWaiting  = 1 << 20  // bytes, those being written included
	closeWithin = 2 * time.Second
)

// AccessLog gathers lines and writes them from one goroutine: at most about 50 ms later, or when 64 KiB are waiting. While
// the sink blocks up to 1 MiB is kept; further lines are dropped and counted. It is an io.Writer whose every Write is whole
// lines, so other loggers can share the sink without mixing lines.
type AccessLog struct {
	sink    io.Writer
	wake    chan struct{} // something is waiting
	full    chan struct{} // flushAt bytes are waiting
	quit    chan struct{}
	done    chan struct{}
	dropped atomic.Uint64

	mu      sync.Mutex
	waiting []byte
	writing int // bytes handed to the sink
	closed  bool
	spare   []byte // owned by the goroutine
}

// NewAccessLog starts the goroutine that Close ends.
func NewAccessLog(w io.Writer) *AccessLog {
	a := &AccessLog{
		sink:    w,
		wake:    make(chan struct{}, 1),
		full:    make(chan struct{}, 1),
		quit:    make(chan struct{}),
		done:    make(chan struct{}),
		waiting: make([]byte, 0, 2*flushAt),
		spare:   make([]byte, 0, 2*flushAt),
	}
	go a.run()
	return a
}

// Write takes whole lines; it copies them and never blocks on the sink. It always reports success: who logs has nothing to
// do about a line that is lost but what is done here, counting it.
func (a *AccessLog) Write(lines []byte) (int, error) {
	a.mu.Lock()
	before := len(a.waiting)
	if a.closed || before+a.writing+len(lines) > maxWaiting {
		a.mu.Unlock()
		a.countLost(lines)
		return len(lines), nil
	}
	a.waiting = append(a.waiting, lines...)
	after := len(a.waiting)
	a.mu.Unlock()
	if before == 0 {
		signal(a.wake)
	}
	if before < flushAt && after >= flushAt {
		signal(a.full)
	}
	return len(lines), nil
}

// Prompt is the same sink for lines that must not wait, such as the log's: they are few, and an operator watches them.
func (a *AccessLog) Prompt() io.Writer { return promptly{a} }

type promptly struct{ log *AccessLog }

func (p promptly) Write(lines []byte) (int, error) {
	n, err := p.log.Write(lines)
	signal(p.log.full)
	return n, err
}

// Dropped counts the lines that never reached the sink.
func (a *AccessLog) Dropped() uint64 { return a.dropped.Load() }

// Close writes what is waiting and ends the goroutine. It waits two seconds for a sink that blocks.
func (a *AccessLog) Close() error {
	a.mu.Lock()
	again := a.closed
	a.closed = true
	a.mu.Unlock()
	if again {
		return nil
	}
	close(a.quit)
	timer := time.NewTimer(closeWithin)
	defer timer.Stop()
	select {
	case <-a.done:
		return nil
	case <-timer.C:
		return errors.New("access log: the sink blocks; lines are lost")
	}
}

func (a *AccessLog) run() {
	defer close(a.done)
	timer := time.NewTimer(flushAfter)
	defer timer.Stop()
	for {
		select {
		case <-a.wake:
		case <-a.quit:
			a.flush()
			return
		}
		timer.Reset(flushAfter)
		select {
		case <-timer.C:
		case <-a.full:
		case <-a.quit:
		}
		a.flush()
	}
}

// flush writes what is waiting. The two buffers change places, so Write never waits for the sink.
func (a *AccessLog) flush() {
	a.mu.Lock()
	a.waiting, a.spare = a.spare[:0], a.waiting
	a.writing = len(a.spare)
	a.mu.Unlock()
	n, err := a.sink.Write(a.spare)
	if err != nil {
		a.countLost(a.spare[min(max(n, 0), len(a.spare)):])
	}
	a.mu.Lock()
	a.writing = 0
	a.mu.Unlock()
}

func (a *AccessLog) countLost(lines []byte) {
	a.dropped.Add(uint64(bytes.Count(lines, []byte{'\n'})))
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
