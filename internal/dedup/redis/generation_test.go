package redis

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/redistest"
)

// gateway is one of several that share a Redis. It holds ten claims and results from a number on.
type gateway struct {
	*Store
	seen  *counts
	log   *pages
	first int
}

func newGateway(t *testing.T, cfg Config, first int) gateway {
	t.Helper()
	g := gateway{seen: &counts{}, log: &pages{}, first: first}
	g.Store = open(t, cfg, Deps{Recorder: g.seen, Log: logger(g.log)})
	for i := first; i < first+10; i++ {
		if found, err := begin(g.Store, numbered(i), claim(token(i))); err != nil || found.Verdict != record.Acquired {
			t.Fatal(found, err)
		}
		if i%2 == 1 {
			if _, err := finish(g.Store, numbered(i), token(i), result(record.Completed)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return g
}

// holds wants everything of another gateway to be there.
func (g gateway) holds(t *testing.T, what string, other gateway) {
	t.Helper()
	for i := other.first; i < other.first+10; i++ {
		want := []record.Verdict{record.Busy, record.Replay}[i%2]
		if found, err := begin(g.Store, numbered(i), claim(his)); err != nil || found.Verdict != want {
			t.Errorf("%s: %d: %+v, %v; want %s", what, i, found, err, want)
		}
	}
}

func (g gateway) alarms() int {
	return strings.Count(strings.Join(g.log.all(), "\n"), "redis lost its data")
}

// TestEdge23EmptiedUnderAFleet: the first gateway that notices puts the secret back, so the others would see nothing amiss; they
// assert what they did all the same, and nobody takes new claims before.
func TestEdge23EmptiedUnderAFleet(t *testing.T) {
	server := redistest.Start(t, durable...)
	cfg := single(server)
	a := newGateway(t, cfg, 0)
	both := []gateway{a, newGateway(t, cfg, 10)}
	b := both[1]
	for round := range 2 {
		if _, err := server.Do("FLUSHALL"); err != nil {
			t.Fatal(err)
		}
		await(t, 5*time.Second, "both assert what they did", func() bool {
			return a.seen.lost.Load() >= int64(10*(round+1)) && b.seen.lost.Load() >= int64(10*(round+1))
		})
		for _, g := range both {
			if _, err := begin(g.Store, numbered(100+round), claim(mine)); !errors.Is(err, errPaused) || !errors.Is(err, dedup.ErrRefused) {
				t.Errorf("a new claim right after the loss: %v", err)
			}
			g.holds(t, "after the loss", a)
			g.holds(t, "after the loss", b)
		}
		for i, g := range both {
			await(t, 10*time.Second, "claims are taken again", func() bool {
				found, err := begin(g.Store, numbered(1000+10*round+i), claim(mine))
				return err == nil && found.Verdict == record.Acquired
			})
			if lost := g.seen.lost.Load(); lost < int64(10*(round+1)) || lost > int64(12*(round+1)) { // with what was claimed to see that it works
				t.Errorf("%d records were lost", lost)
			}
			if g.alarms() != round+1 || g.seen.changes.Load() != int64(round+1) {
				t.Errorf("round %d: %d alarms, %d changes: %q", round, g.alarms(), g.seen.changes.Load(), g.log.all())
			}
		}
	}
}

// TestGeneration: what tells a store that its data was lost, and what does not. The stores look when they are told to.
func TestGeneration(t *testing.T) {
	server := redistest.Start(t, durable...)
	cfg := single(server)
	one, two := still(t, cfg), still(t, cfg)
	look := func(s *Store, what string, lost bool) {
		t.Helper()
		s.guard.take()
		if err := s.watch(context.Background()); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if n := len(s.guard.take()); n != 0 != lost || s.guard.paused(0) != lost {
			t.Errorf("%s: %d buckets are asserted, paused %v", what, n, s.guard.paused(0))
		}
		for b := range buckets { // the pause is over
			s.guard.until[b].Store(0)
		}
	}
	both := func(what string, lost bool) {
		t.Helper()
		look(one, what, lost)
		look(two, what, lost)
		look(one, what+", once more", false)
		look(two, what+", once more", false)
	}
	do := func(args ...any) {
		t.Helper()
		if _, err := server.Do(args...); err != nil {
			t.Fatal(err)
		}
	}
	generation := func() any {
		held, err := server.Do("GET", cfg.Prefix+":{"+cfg.Prefix+":secret}:generation")
		if err != nil || held == "" {
			t.Fatalf("generation %v, %v", held, err)
		}
		return held
	}
	first := generation()
	both("two gateways on one Redis", false)
	do("FLUSHALL")
	both("emptied", true)
	second := generation()
	if second == first {
		t.Error("the generation is the one of before")
	}
	do("DEL", one.names.generation())
	both("a gateway that writes none put the secret back", true)
	do("DEL", one.names.secret())
	both("only the secret is gone", true)
	before := generation()
	server.Restart()
	both("a restart", true) // another process: that is enough
	if generation() != before {
		t.Error("a restart with its data made a new generation")
	}
	do("DEL", one.names.generation())
	look(still(t, cfg), "the first gateway that knows of generations", false)
	if one.slotsOfMarks() != 1 {
		t.Error("secret, generation and erasures are in different slots")
	}
}

func (s *Store) slotsOfMarks() int {
	in := map[int]bool{slotOf(s.names.secret()): true}
	for _, name := range []string{s.names.generation(), s.names.erased()} {
		_, rest, _ := strings.Cut(name, "{")
		inner, _, _ := strings.Cut(rest, "}")
		in[slotOf(inner)] = true
	}
	return len(in)
}

// TestRestartIsNoLoss: what a server kept through its restart is not counted as lost, by nobody.
func TestRestartIsNoLoss(t *testing.T) {
	server := redistest.Start(t, durable...)
	cfg := single(server)
	both := []gateway{newGateway(t, cfg, 0), newGateway(t, cfg, 10)}
	server.Kill()
	server.Restart()
	for i, g := range both {
		await(t, 10*time.Second, "claims are taken again", func() bool {
			found, err := begin(g.Store, numbered(1000+i), claim(mine))
			return err == nil && found.Verdict == record.Acquired
		})
		g.holds(t, "after the restart", both[1-i])
		if g.alarms() != 0 || g.seen.lost.Load() != 0 || g.seen.changes.Load() != 1 {
			t.Errorf("%d alarms, %d lost, %d changes", g.alarms(), g.seen.lost.Load(), g.seen.changes.Load())
		}
	}
}

// TestClusterIsEmptied: all of it, and the secret's server is the only one that tells.
func TestClusterIsEmptied(t *testing.T) {
	fleet := redistest.StartCluster(t, 3, 0)
	cfg := cluster(fleet, 0)
	both := []gateway{newGateway(t, cfg, 0), newGateway(t, cfg, 10)}
	for _, server := range fleet.Servers {
		if _, err := server.Do("FLUSHALL"); err != nil {
			t.Fatal(err)
		}
	}
	for _, g := range both {
		await(t, 10*time.Second, "the loss is noticed", func() bool { return g.seen.lost.Load() == 10 })
	}
	for i, g := range both {
		g.holds(t, "after the loss", both[1-i])
	}
}
