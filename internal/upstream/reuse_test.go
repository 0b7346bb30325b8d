package upstream

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// The upstream closes connections that idle for 20 ms; a POST comes right after that.
func TestEdge11IdleCloseRaceLosesNoPost(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{}, 200)
	f := newFake(t, func(p *peer) {
		for {
			_ = p.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			if p.request() == nil {
				hangUp(t, p.Conn)
				closed <- struct{}{}
				return
			}
			p.send(okAnswer)
		}
	})
	r := newRig(t, defaults(f.url))
	n := 200
	if testing.Short() {
		n = 20
	}
	for i := range n {
		if i > 0 {
			<-closed // while it is on its way nobody can win
		}
		m := with("POST", fmt.Sprint(i)).WithBody([]byte("{}"))
		body, err := r.do(m)
		wantOK(t, body, err)
		if m.Attempt.Count != 1 || count(f, fmt.Sprint(i)) != 1 {
			t.Fatalf("POST %d: %d dispatches, seen %d times", i, m.Attempt.Count, count(f, fmt.Sprint(i)))
		}
	}
	if stale, _ := r.rec.counts(); stale != n-1 {
		t.Errorf("%d stale connections were noted", stale)
	}
}

func TestSafeRequestIsSentAgainOnAFreshConnection(t *testing.T) {
	f := newFake(t, func(p *peer) {
		for s := p.request(); s != nil; s = p.request() {
			if s.id == "again" && p.n == 0 {
				return // gives the reused connection up without a byte
			}
			p.send(okAnswer)
		}
	})
	r := newRig(t, defaults(f.url))
	body, err := r.do(get("warm"))
	wantOK(t, body, err)
	m := get("again")
	body, err = r.do(m)
	wantOK(t, body, err)
	if m.Attempt.Count != 2 || f.connections() != 2 {
		t.Errorf("%d dispatches on %d connections", m.Attempt.Count, f.connections())
	}
}

// A second answer that nobody asked for is never delivered: in the same segment, and when the first has been taken.
func TestUnsolicitedAnswers(t *testing.T) {
	stray := strings.Replace(okAnswer, "\r\n\r\nok", "\r\n\r\nNO", 1)
	for name, script := range map[string]func(p *peer, taken <-chan struct{}){
		"same segment": func(p *peer, taken <-chan struct{}) { p.send(okAnswer + stray); <-taken },
		"later":        func(p *peer, taken <-chan struct{}) { p.send(okAnswer); <-taken; p.send(stray) },
	} {
		t.Run(name, func(t *testing.T) {
			taken, done := make(chan struct{}, 8), make(chan struct{}, 8)
			f := newFake(t, func(p *peer) {
				for p.request() != nil {
					script(p, taken)
					arrive(t, p.Conn)
					done <- struct{}{}
				}
			})
			t.Cleanup(func() { close(taken) })
			r := newRig(t, defaults(f.url))
			for i := range 4 {
				body, err := r.do(get(fmt.Sprint(i)))
				wantOK(t, body, err)
				taken <- struct{}{}
				<-done
			}
			if _, unsolicited := r.rec.counts(); unsolicited < 3 || f.connections() != 4 {
				t.Errorf("%d noted, %d connections", unsolicited, f.connections())
			}
		})
	}
}

// The look comes before every request, however short the connection was idle: a stray answer is nobody's, at full speed too.
func TestStrayBytesAtFullSpeed(t *testing.T) {
	sent := make(chan struct{}, 1)
	f := newFake(t, func(p *peer) {
		for s := p.request(); s != nil; s = p.request() {
			p.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(s.id), s.id))
			p.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray")
			sent <- struct{}{}
		}
	})
	r := newRig(t, defaults(f.url))
	for i := range 300 {
		body, err := r.do(get(fmt.Sprint(i)))
		if err != nil || string(body) != fmt.Sprint(i) {
			t.Fatalf("%d got %q, %v", i, body, err)
		}
		<-sent
	}
}

func TestUpstreamRestart(t *testing.T) {
	f := newFake(t, answering(okAnswer))
	r := newRig(t, defaults(f.url))
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() { _, _ = r.do(get(fmt.Sprint(i))) })
	}
	wait.Wait()
	f.mu.Lock()
	for _, c := range f.conns {
		hangUp(t, c)
	}
	f.mu.Unlock()
	m := with("POST", "after").WithBody([]byte("x"))
	body, err := r.do(m)
	wantOK(t, body, err)
	if m.Attempt.Count != 1 {
		t.Errorf("%d dispatches", m.Attempt.Count)
	}
}

func TestFullPoolWaitsAndThenRefuses(t *testing.T) {
	release := make(chan struct{})
	f := newFake(t, func(p *peer) {
		for s := p.request(); s != nil; s = p.request() {
			if s.id == "slow" {
				<-release
			}
			p.send(okAnswer)
		}
	})
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free)
	cfg := defaults(f.url)
	cfg.Connections.Max = 1
	cfg.Timeout.Connect = units.Duration(50 * time.Millisecond)
	r := newRig(t, cfg)
	slow := make(chan error, 1)
	go func() { _, err := r.do(get("slow")); slow <- err }()
	eventually(t, "the slow call", func() bool { return count(f, "slow") > 0 })
	m := with("POST", "refused")
	_, err := r.do(m)
	wantKind(t, err, pipeline.Overloaded)
	if m.Effect != pipeline.EffectNone || m.Attempt.Count != 1 {
		t.Errorf("effect %v, %d tries", m.Effect, m.Attempt.Count)
	}
	waiting := make(chan error, 1)
	go func() { _, err := r.do(with("POST", "waits")); waiting <- err }()
	queued(t)
	free()
	if err := <-slow; err != nil {
		t.Error(err)
	}
	if err := <-waiting; err != nil || f.connections() != 1 {
		t.Errorf("%v, %d connections", err, f.connections())
	}
}

// The place of a connection that breaks goes to whoever waits.
func TestWaiterGetsThePlaceOfABrokenConnection(t *testing.T) {
	release := make(chan struct{})
	f := newFake(t, func(p *peer) {
		if s := p.request(); s != nil && s.id == "breaks" {
			<-release
			return
		}
		p.send(okAnswer)
	})
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free)
	cfg := defaults(f.url)
	cfg.Connections.Max = 1
	r := newRig(t, cfg)
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { _, err := r.do(with("POST", "breaks")); first <- err }()
	eventually(t, "the call that breaks", func() bool { return count(f, "breaks") > 0 })
	go func() { _, err := r.do(with("POST", "waits")); second <- err }()
	queued(t)
	free()
	wantKind(t, <-first, pipeline.UpstreamFailed)
	if err := <-second; err != nil {
		t.Error(err)
	}
}

func TestFullTargetTriesAnotherOne(t *testing.T) {
	release := make(chan struct{})
	busy := newFake(t, func(p *peer) { p.request(); <-release; p.send(okAnswer) })
	free := newFake(t, answering(okAnswer))
	cfg := defaults(busy.url, free.url)
	cfg.Connections.Max = 1
	cfg.Timeout.Connect = units.Duration(30 * time.Millisecond)
	r := newRig(t, cfg)
	slow := make(chan error, 1)
	go func() { _, err := r.do(with("POST", "slow")); slow <- err }()
	eventually(t, "the slow call", func() bool { return count(busy, "slow") > 0 })
	for i := range 4 {
		body, err := r.do(with("POST", fmt.Sprint(i)))
		wantOK(t, body, err)
	}
	close(release)
	<-slow
}

func TestExpiry(t *testing.T) {
	f := newFake(t, answering(okAnswer))
	cfg := defaults(f.url)
	cfg.Connections.Idle = units.Duration(30 * time.Millisecond)
	r := newRig(t, cfg)
	for i := range 2 {
		body, err := r.do(get(fmt.Sprint(i)))
		wantOK(t, body, err)
		time.Sleep(40 * time.Millisecond)
	}
	if f.connections() != 2 {
		t.Errorf("%d connections, an expired one was used", f.connections())
	}
	r.set.Load().targets[0].conns.Expire(time.Now())
	if info := r.Targets()[0]; info.Open != 0 || info.InFlight != 0 {
		t.Errorf("%+v after expiry", info)
	}
}

func TestConcurrentExchangesGetTheirOwnAnswers(t *testing.T) {
	f := newFake(t, func(p *peer) {
		for s := p.request(); s != nil; s = p.request() {
			answer := s.id + string(s.body)
			p.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer))
		}
	})
	r := newRig(t, defaults(f.url))
	var wait sync.WaitGroup
	for worker := range 24 { // more than there may be connections
		wait.Go(func() {
			for i := range 50 {
				id := fmt.Sprintf("%d-%d", worker, i)
				payload := bytes.Repeat([]byte(id), 1+i*40)
				body, err := r.do(with("POST", id).WithBody(payload))
				if err != nil || string(body) != id+string(payload) {
					t.Errorf("%s: %d bytes, %v", id, len(body), err)
				}
			}
		})
	}
	wait.Wait()
	if info := r.Targets()[0]; info.InFlight != 0 || info.Open > 16 {
		t.Errorf("%+v", info)
	}
}
