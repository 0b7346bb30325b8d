package dedup

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// Bounds of waiting duplicates. One that finds no place is told 409 at once.
const (
	waitersPerKey    = 8
	waitersPerClient = 64
	waitersInAll     = 1024
	pollFirst        = 100 * time.Millisecond
	pollMost         = time.Second
	lookForClient    = 250 * time.Millisecond // how soon a waiter notices that its client left
)

// flights are the keyed writes that run in this process and may have duplicates waiting for them, with a count of all waiters.
// A flight lives as long as its request: there are no more of them than running requests.
type flights struct {
	mu        sync.Mutex
	running   map[record.Key]*flight
	perKey    map[record.Key]int
	perClient map[record.Subject]int
	waiting   int
}

// flight is one running write. found is set before landed is closed; a zero verdict sends the waiters to the store.
type flight struct {
	print  record.Fingerprint
	landed chan struct{}
	found  record.Found
	over   bool
}

func newFlights() *flights {
	return &flights{running: map[record.Key]*flight{}, perKey: map[record.Key]int{}, perClient: map[record.Subject]int{}}
}

// depart registers a write; nil when nobody waits on its route.
func (f *flights) depart(key record.Key, print record.Fingerprint, waits bool) *flight {
	if !waits {
		return nil
	}
	fl := &flight{print: print, landed: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running[key] = fl
	return fl
}

// land tells the waiters how the write ended; only the first word counts.
func (f *flights) land(key record.Key, fl *flight, found record.Found) {
	if fl == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl.over {
		return
	}
	if f.running[key] == fl { // a later attempt of an upstream that deduplicates may have taken its place
		delete(f.running, key)
	}
	fl.over, fl.found = true, found
	close(fl.landed)
}

// enter takes a place to wait.
func (f *flights) enter(key record.Key, s record.Subject) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting >= waitersInAll || f.perKey[key] >= waitersPerKey || f.perClient[s] >= waitersPerClient {
		return false
	}
	f.waiting++
	f.perKey[key]++
	f.perClient[s]++
	return true
}

func (f *flights) leave(key record.Key, s record.Subject) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting--
	less(f.perKey, key)
	less(f.perClient, s)
}

func less[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}

func (f *flights) find(key record.Key) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running[key]
}

// len is how many duplicates wait now.
func (f *flights) len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting
}

// hold waits for the running attempt, at most as long as the route says: on a channel when it runs in this process, by asking
// the store again and again when it runs elsewhere. It gives what is known then; busy is still possible. The request itself
// may be granted meanwhile, when the other attempt freed the key.
func (a *attempt) hold(ctx context.Context, busy record.Found) (record.Found, time.Duration, error) {
	f := a.records.flights
	if !f.enter(a.key, a.subject) {
		return busy, 0, nil
	}
	defer f.leave(a.key, a.subject)
	end := time.Now().Add(a.cfg.Wait.Std())
	if !a.x.Deadline.IsZero() && a.x.Deadline.Before(end) {
		end = a.x.Deadline
	}
	for pause := pollFirst; ; pause = min(2*pause, pollMost) {
		fl := f.find(a.key)
		if fl != nil && fl.print != a.print {
			fl = nil // the store said busy for our print: the record changed hands; it will tell
		}
		landed, err := a.rest(ctx, fl, end, jitter(pause))
		if err != nil {
			return busy, 0, err
		}
		if landed && fl.found.Verdict != 0 {
			return fl.found, 0, nil
		}
		if !landed && fl != nil { // the time is over
			return busy, 0, nil
		}
		if a.late() { // a claim could do nothing any more
			return busy, 0, nil
		}
		found, wait, err := a.begin(ctx)
		if err != nil && a.cfg.OnStoreFailure == "allow" && pipeline.KindOf(err) != pipeline.RateLimited {
			a.records.abandon(a.key, a.token)
			return busy, 0, nil // what is known to run must not be sent unprotected
		}
		if err != nil || found.Verdict != record.Busy || !time.Now().Before(end) {
			return found, wait, err
		}
		busy = found
	}
}

// late tells that the request's own time is over.
func (a *attempt) late() bool {
	return !a.x.Deadline.IsZero() && !time.Now().Before(a.x.Deadline)
}

// rest waits for the flight, or without one for a pause, until end; landed tells that the flight ended. The error is
// ClientGone.
func (a *attempt) rest(ctx context.Context, fl *flight, end time.Time, pause time.Duration) (landed bool, err error) {
	var done <-chan struct{}
	if fl != nil {
		done, pause = fl.landed, time.Until(end)
	}
	over := time.NewTimer(max(0, min(pause, time.Until(end))))
	defer over.Stop()
	look := time.NewTicker(lookForClient)
	defer look.Stop()
	for {
		select {
		case <-done:
			return true, nil
		case <-over.C:
			return false, nil
		case <-ctx.Done():
			return false, pipeline.ClientGone
		case <-look.C:
			if a.x.Gone() {
				return false, pipeline.ClientGone
			}
		}
	}
}

// jitter spreads a pause over half to all of it.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
