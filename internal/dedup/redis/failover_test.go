package redis

import (
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/redistest"
)

// load claims keys and finishes every other one from several goroutines until it is stopped, and remembers what was
// acknowledged.
type load struct {
	store *Store
	next  atomic.Int64
	stop  atomic.Bool
	wait  sync.WaitGroup

	mu      sync.Mutex
	claimed map[int]bool
	stored  map[int]bool
	errors  int
}

func start(s *Store, first int) *load {
	l := &load{store: s, claimed: map[int]bool{}, stored: map[int]bool{}}
	l.next.Store(int64(first))
	for range 8 {
		l.wait.Go(l.run)
	}
	return l
}

func (l *load) run() {
	for !l.stop.Load() {
		i := int(l.next.Add(1))
		found, err := begin(l.store, numbered(i), claim(token(i)))
		if err != nil || found.Verdict != record.Acquired {
			l.note(nil, i, true)
			time.Sleep(2 * time.Millisecond) // refused at once: don't spin
			continue
		}
		l.note(l.claimed, i, false)
		if i%2 == 0 {
			continue
		}
		if outcome, err := finish(l.store, numbered(i), token(i), result(record.Completed)); err == nil && outcome != record.Fenced {
			l.note(l.stored, i, false)
		} else {
			l.note(nil, i, true)
		}
	}
}

func (l *load) note(in map[int]bool, i int, failed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if in != nil {
		in[i] = true
	}
	if failed {
		l.errors++
	}
}

func (l *load) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.claimed)
}

// end stops the load and wants everything that was acknowledged to be there.
func (l *load) end(t *testing.T, judge *Store) {
	t.Helper()
	l.stop.Store(true)
	l.wait.Wait()
	lostClaims, lostResults := 0, 0
	for i := range l.claimed {
		c := claim(his)
		var found record.Found
		var err error
		await(t, 30*time.Second, "a record can be asked for", func() bool {
			found, err = begin(judge, numbered(i), c)
			return err == nil
		})
		switch {
		case found.Verdict == record.Acquired || found.Verdict == record.Miss:
			lostClaims++
		case l.stored[i] && found.Verdict != record.Replay:
			lostResults++
		}
	}
	t.Logf("%d claims and %d results were acknowledged, %d calls failed", len(l.claimed), len(l.stored), l.errors)
	if lostClaims+lostResults > 0 || len(l.claimed) == 0 {
		t.Errorf("%d claims and %d results are lost", lostClaims, lostResults)
	}
}

// failovers is how often the tests below kill a primary.
func failovers(few int) int {
	if n, err := strconv.Atoi(os.Getenv("ONCEGATE_FAILOVERS")); err == nil {
		return n
	}
	return few
}

// grow waits until the load has got on by n claims.
func (l *load) grow(t *testing.T, n int) {
	t.Helper()
	from := l.size()
	await(t, 30*time.Second, "claims are acknowledged", func() bool { return l.size() >= from+n })
}

func TestSentinelFailoversLoseNothing(t *testing.T) {
	fleet := redistest.StartSentinel(t, 2)
	c := &counts{}
	s := open(t, sentinel(fleet, 1), Deps{Recorder: c})
	for round := range failovers(2) {
		l := start(s, round*1_000_000)
		l.grow(t, 200)
		old := fleet.Primary()
		old.Kill()
		fleet.AwaitFailover(old)
		l.grow(t, 200)
		l.end(t, s)
		fleet.Heal()
	}
	if c.changes.Load() == 0 {
		t.Error("no change of primary was noticed")
	}
	t.Logf("%d changes, %d not on the new primary", c.changes.Load(), c.lost.Load())
}

func TestClusterFailoversLoseNothing(t *testing.T) {
	fleet := redistest.StartCluster(t, 3, 1)
	c := &counts{}
	s := open(t, cluster(fleet, 1), Deps{Recorder: c})
	for round := range failovers(2) {
		l := start(s, round*1_000_000)
		l.grow(t, 200)
		old := fleet.PrimaryOf(s.names.open(round * 500 % buckets))
		old.Kill()
		fleet.AwaitFailover(old)
		l.grow(t, 100)
		fleet.Heal()
		l.grow(t, 200)
		l.end(t, s)
	}
	t.Logf("%d changes, %d not on the new primary", c.changes.Load(), c.lost.Load())
}

// TestGuardAloneHeals: without WAIT a failover loses what was not replicated; this gateway knows it still.
func TestGuardAloneHeals(t *testing.T) {
	fleet := redistest.StartSentinel(t, 1)
	c := &counts{}
	s := open(t, sentinel(fleet, 0), Deps{Recorder: c})
	replica := fleet.Servers[1]
	replica.Pause()
	if _, err := fleet.Servers[0].Do("CLIENT", "KILL", "TYPE", "replica"); err != nil { // its socket must not hold what follows
		t.Fatal(err)
	}
	for i := range 50 {
		if found, err := begin(s, numbered(i), claim(token(i))); err != nil || found.Verdict != record.Acquired {
			t.Fatal(found, err)
		}
		if i%2 == 1 {
			if _, err := finish(s, numbered(i), token(i), result(record.Completed)); err != nil {
				t.Fatal(err)
			}
		}
	}
	fleet.Servers[0].Kill()
	replica.Resume()
	fleet.AwaitFailover(fleet.Servers[0])
	await(t, 20*time.Second, "the change is noticed and asserted", func() bool {
		return c.changes.Load() > 0 && !s.guard.paused(0) && s.ready() == nil
	})
	for i := range 50 {
		found, err := begin(s, numbered(i), claim(his))
		if want := []record.Verdict{record.Busy, record.Replay}[i%2]; err != nil || found.Verdict != want {
			t.Errorf("%d: %+v, %v; want %s", i, found, err, want)
		}
	}
	if c.lost.Load() != 50 {
		t.Errorf("%d lost, 50 were not replicated", c.lost.Load())
	}
}

// TestPlannedFailover moves the primary while it lives: nobody may be asked who is not the primary any more.
func TestPlannedFailover(t *testing.T) {
	fleet := redistest.StartCluster(t, 3, 1)
	s := open(t, cluster(fleet, 1), Deps{})
	l := start(s, 0)
	l.grow(t, 100)
	for range 2 { // there and back
		old := fleet.PrimaryOf(s.names.open(0))
		fleet.Failover(fleet.ReplicasOf(old)[0])
		fleet.AwaitFailover(old)
		fleet.AwaitReplicas()
		l.grow(t, 100)
	}
	l.end(t, s)
}
