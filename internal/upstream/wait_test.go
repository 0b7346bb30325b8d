package upstream

import (
	"io"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// A call that waited for a connection longer than one slice of its waiting gets the time that is its own.
func TestWaitingForAConnectionDoesNotEatTheAnswersTime(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	f := newFake(t, func(p *peer) {
		for s := p.request(); s != nil; s = p.request() {
			if s.id == "first" {
				close(begun)
				<-release
			}
			p.send(okAnswer)
		}
	})
	cfg := defaults(f.url)
	cfg.Connections.Max = 1
	r := newRig(t, cfg)
	first := make(chan error, 1)
	go func() { _, err := r.do(get("first")); first <- err }()
	<-begun
	time.AfterFunc(600*time.Millisecond, func() { close(release) })
	body, err := r.do(with("POST", "second").WithBody([]byte("x")))
	wantOK(t, body, err)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if f.connections() != 1 {
		t.Errorf("%d connections", f.connections())
	}
}

// stalling is a request whose view takes longer than one slice of waiting, as a processor that was away does.
type stalling struct{ pipeline.Request }

func (r stalling) Fields() int {
	time.Sleep(400 * time.Millisecond)
	return r.Request.Fields()
}

// A slice of waiting that passed before anything was sent is no reason to give up: the limits are far away.
func TestAStallBeforeSendingIsNoTimeout(t *testing.T) {
	f := newFake(t, answering(okAnswer))
	r := newRig(t, defaults(f.url))
	body, err := r.do(get("warm"))
	wantOK(t, body, err)
	m := with("POST", "stalled").WithBody([]byte("x"))
	m.Request = stalling{m.Request}
	body, err = r.do(m)
	wantOK(t, body, err)
	if n := count(f, "stalled"); n != 1 || f.connections() != 1 {
		t.Errorf("seen %d times on %d connections", n, f.connections())
	}
}

// The deadline is not eaten by an upstream that takes a long body slowly but steadily.
func TestSlowlyTakenUploadDoesNotEatTheDeadline(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	f := newFake(t, func(p *peer) {
		_, body := p.head()
		for b := make([]byte, 1<<20); ; {
			if _, err := io.ReadFull(body, b); err != nil {
				break
			}
			time.Sleep(60 * time.Millisecond) // its pace
		}
		p.send(okAnswer)
		p.block()
	})
	r := newRig(t, defaults(f.url))
	m := upload("a", &source{left: size}, size)
	m.Deadline = time.Now().Add(2 * time.Second) // what stands in the buffers of sockets at the end takes its time, too
	body, err := r.do(m)
	wantOK(t, body, err)
}
