package dedup

import (
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// What works, and will go wrong one day.
const (
	shortKey  = 16 // characters: fewer are easily chosen twice
	lateShare = 10 // a retry in the last tenth of its key's time is late
	warnEvery = time.Minute
	warnMost  = 4096 // routes; reloads may rename them for ever
)

// warned knows which routes were warned of lately.
type warned struct {
	mu sync.Mutex
	at map[string]time.Time
}

// due tells whether to warn of a route now.
func (w *warned) due(route string, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if last, ok := w.at[route]; ok && now.Sub(last) < warnEvery {
		return false
	}
	if w.at == nil || len(w.at) >= warnMost {
		w.at = map[string]time.Time{}
	}
	w.at[route] = now
	return true
}

// lookAtKey warns of a short key. The key itself is not logged: it is the client's secret.
func (g *guard) lookAtKey(key []byte) {
	if len(key) >= shortKey {
		return
	}
	g.recorder.ShortKey(g.facts.Route)
	if g.records.warned.due(g.facts.Route, time.Now()) {
		g.records.log.Warn("a client's idempotency keys are short, and easily chosen twice: a random one has at least 16 characters",
			"route", g.facts.Route, "characters", len(key))
	}
}

// lookAtAge counts a duplicate that came shortly before its key is forgotten. What a waiting duplicate is told has no age.
func (a *attempt) lookAtAge(f record.Found) {
	switch f.Verdict {
	case record.Replay, record.NotKept, record.Undetermined:
		if f.Left > 0 && f.Left < a.cfg.Keep.Key.Std()/lateShare {
			a.recorder.LateRetry(a.facts.Route)
		}
	}
}
