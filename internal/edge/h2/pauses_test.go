package h2

import (
	"testing"
	"testing/synctest"
	"time"
)

// Only waits count, each by itself; what lies between them doesn't.
func TestPausesCountWaitsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		expired := time.Time{}
		p := &pauses{limit: time.Second, expire: func() { expired = time.Now() }}
		for range 5 {
			p.begin()
			time.Sleep(900 * time.Millisecond)
			p.end()
			time.Sleep(10 * time.Second)
		}
		p.mu.Lock()
		early := !expired.IsZero()
		p.mu.Unlock()
		if early {
			t.Fatal("time between waits was counted")
		}
		begun := time.Now()
		p.begin()
		time.Sleep(3 * time.Second)
		p.mu.Lock()
		took := expired.Sub(begun)
		p.mu.Unlock()
		if took != time.Second {
			t.Errorf("a wait ended after %v", took)
		}
		p.stop()
	})
}

func TestPausesStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pauses{limit: time.Second, expire: func() { t.Error("called after stop") }}
		p.begin()
		p.stop()
		time.Sleep(5 * time.Second)
	})
}

// It is used again: what an earlier exchange left behind, even a look that is on its way, does not shorten a later one.
func TestPausesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pauses
		p.start(time.Second, func() { t.Error("the first was stopped") })
		p.begin()
		time.Sleep(900 * time.Millisecond)
		p.stop()
		expired := make(chan time.Time, 1)
		p.start(time.Second, func() { expired <- time.Now() })
		begun := time.Now()
		p.begin()
		p.look() // too late for the first
		if took := (<-expired).Sub(begun); took != time.Second {
			t.Errorf("a wait ended after %v", took)
		}
		p.stop()
	})
}
