package h2

import (
	"sync"
	"time"
)

// pauses bounds each single wait for a client, and no other time: one timer that looks again as long as waits come.
type pauses struct {
	mu     sync.Mutex
	timer  *time.Timer
	armed  bool
	since  time.Time // of the wait that lasts; zero: none
	limit  time.Duration
	expire func() // ends the wait; called at most once
}

// start readies it for the waits of an exchange: it is used again and again, with its timer. A look that an earlier one left
// behind finds the time of this one, and does no harm.
func (p *pauses) start(limit time.Duration, expire func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed, p.since, p.limit, p.expire = false, time.Time{}, limit, expire
}

func (p *pauses) begin() {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since = now
	if p.armed || p.limit <= 0 {
		return
	}
	p.armed = true
	if p.timer == nil {
		p.timer = time.AfterFunc(p.limit, p.look)
		return
	}
	p.timer.Reset(p.limit)
}

func (p *pauses) end() {
	p.mu.Lock()
	p.since = time.Time{}
	p.mu.Unlock()
}

func (p *pauses) look() {
	p.mu.Lock()
	rest := time.Duration(0)
	if !p.since.IsZero() {
		rest = p.limit - time.Since(p.since)
	}
	switch {
	case p.since.IsZero() || p.expire == nil:
		p.armed = false
	case rest > 0:
		p.timer.Reset(rest)
	default:
		// Under the lock: stop waits for it, so what expire uses is still there.
		p.expire()
		p.expire = nil
	}
	p.mu.Unlock()
}

// stop ends the watch: expire is not called any more.
func (p *pauses) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire = nil
	if p.timer != nil {
		p.timer.Stop()
	}
}
