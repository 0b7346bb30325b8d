package redis

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/redisconn"
	"github.com/oncegate/oncegate/internal/redistest"
)

func refusedBegin(t *testing.T, s *Store, key record.Key) {
	t.Helper()
	if found, err := begin(s, key, claim(mine)); !errors.Is(err, dedup.ErrRefused) {
		t.Errorf("begin: %+v, %v; want a refusal", found, err)
	}
}

func set(t *testing.T, server *redistest.Server, name, value string) {
	t.Helper()
	if _, err := server.Do("CONFIG", "SET", name, value); err != nil {
		t.Fatal(err)
	}
}

func TestEdge20NoRoom(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, single(server), Deps{})
	if _, err := begin(s, numbered(1), claim(mine)); err != nil {
		t.Fatal(err)
	}
	set(t, server, "maxmemory", "1")
	refusedBegin(t, s, numbered(2))
	if _, err := finish(s, numbered(1), mine, result(record.Completed)); !errors.Is(err, dedup.ErrRefused) {
		t.Errorf("finish: %v", err)
	}
	if found, err := begin(s, numbered(1), claim(his)); err != nil || found.Verdict != record.Busy {
		t.Errorf("what is there can't be read: %+v, %v", found, err)
	}
	set(t, server, "maxmemory", "0")
	if outcome, err := finish(s, numbered(1), mine, result(record.Completed)); err != nil || outcome != record.Stored {
		t.Errorf("with room again: %s, %v", outcome, err)
	}
	if found, err := begin(s, numbered(2), claim(his)); err != nil || found.Verdict != record.Acquired {
		t.Errorf("a refused claim is there: %+v, %v", found, err)
	}
}

func TestKilledServerKeepsAll(t *testing.T) {
	server := redistest.Start(t, durable...)
	c := &counts{}
	s := open(t, single(server), Deps{Recorder: c})
	for i := range 20 {
		if _, err := begin(s, numbered(i), claim(token(i))); err != nil {
			t.Fatal(err)
		}
		if i < 10 {
			if _, err := finish(s, numbered(i), token(i), result(record.Completed)); err != nil {
				t.Fatal(err)
			}
		}
	}
	secret, _ := s.Secret(context.Background())
	server.Kill()
	refusedBegin(t, s, numbered(50))
	server.Restart()
	await(t, 10*time.Second, "claims are taken again", func() bool {
		found, err := begin(s, numbered(51), claim(token(51)))
		return err == nil && found.Verdict == record.Acquired
	})
	for i := range 20 {
		want := record.Busy
		if i < 10 {
			want = record.Replay
		}
		if found, err := begin(s, numbered(i), claim(his)); err != nil || found.Verdict != want {
			t.Errorf("%d: %+v, %v", i, found, err)
		}
	}
	if again, err := s.Secret(context.Background()); err != nil || again != secret {
		t.Error("the secret changed")
	}
	if c.lost.Load() != 0 || c.changes.Load() == 0 {
		t.Errorf("%d lost, %d changes of primary", c.lost.Load(), c.changes.Load())
	}
}

// TestEdge23EmptyServer: a server that comes back without its data is given what this gateway did last, before it takes new claims.
func TestEdge23EmptyServer(t *testing.T) {
	server := redistest.Start(t)
	c, log := &counts{}, &pages{}
	s := open(t, single(server), Deps{Recorder: c, Log: logger(log)})
	for i := range 30 {
		if _, err := begin(s, numbered(i), claim(token(i))); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		_, _ = finish(s, numbered(i), token(i), result(record.Completed))
	}
	if freed, err := s.Release(context.Background(), numbered(29), token(29)); err != nil || !freed {
		t.Fatal(freed, err)
	}
	secret, _ := s.Secret(context.Background())
	for name, lose := range map[string]func(){
		"restart":  server.Restart,
		"flushall": func() { _, _ = server.Do("FLUSHALL") },
	} {
		before := c.lost.Load()
		lose()
		await(t, 10*time.Second, name+": the loss is noticed", func() bool { return c.lost.Load()-before >= 29 })
		for i := range 29 {
			want := record.Busy
			if i < 10 {
				want = record.Replay
			}
			if found, err := begin(s, numbered(i), claim(his)); err != nil || found.Verdict != want {
				t.Errorf("%s: %d: %+v, %v; want %s", name, i, found, err, want)
			}
		}
		refusedBegin(t, s, numbered(40)) // not yet
		await(t, 10*time.Second, "claims are taken again", func() bool {
			found, err := begin(s, numbered(29), claim(token(29)))
			return err == nil && found.Verdict == record.Acquired
		})
		if freed, err := s.Release(context.Background(), numbered(29), token(29)); err != nil || !freed {
			t.Error(freed, err)
		}
		await(t, 10*time.Second, "the secret is back", func() bool {
			held, _ := server.Do("GET", s.names.secret())
			return held == string(secret[:])
		})
	}
}

func TestPausedServerTakesBoundedTime(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, single(server), Deps{})
	if _, err := begin(s, numbered(1), claim(mine)); err != nil {
		t.Fatal(err)
	}
	server.Pause()
	start := time.Now()
	if _, err := begin(s, numbered(2), claim(mine)); err == nil || errors.Is(err, dedup.ErrRefused) {
		t.Errorf("sent, and no reply: %v", err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
	await(t, 5*time.Second, "the pause is noticed", func() bool { return s.fleet.place(0).down.Load() })
	start = time.Now()
	refusedBegin(t, s, numbered(3))
	if took := time.Since(start); took > 500*time.Millisecond {
		t.Errorf("a server known to be gone is waited for %v", took)
	}
	server.Resume()
	await(t, 10*time.Second, "claims are taken again", func() bool {
		found, err := begin(s, numbered(4), claim(mine))
		return err == nil && found.Verdict == record.Acquired
	})
}

func TestUnreachableAtFirst(t *testing.T) {
	server := redistest.Start(t)
	proxy, log := redistest.NewProxy(t, server.Addr), &pages{}
	proxy.Cut()
	s, err := Open(context.Background(), Config{Server: redisconn.Server{Mode: redisconn.Single, Addresses: []string{proxy.Addr}}, Prefix: fresh()}, Deps{Log: logger(log)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	refusedBegin(t, s, numbered(1))
	if _, err := s.Secret(context.Background()); !errors.Is(err, dedup.ErrRefused) {
		t.Errorf("secret: %v", err)
	}
	proxy.Heal()
	awaitReady(t, s)
	if _, err := begin(s, numbered(1), claim(mine)); err != nil {
		t.Error(err)
	}
	if lines := strings.Join(log.all(), "\n"); !strings.Contains(lines, "can't be used yet") || !strings.Contains(lines, "can be used again") {
		t.Error(lines)
	}
	s.Close()
	refusedBegin(t, s, numbered(2))
}

// TestEdge16LostReply: what was sent and not answered may have happened, and is found when it is sent again.
func TestEdge16LostReply(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr)
	s := open(t, Config{Server: redisconn.Server{Mode: redisconn.Single, Addresses: []string{proxy.Addr}}, Prefix: fresh()}, Deps{})
	proxy.DropReplies()
	if _, err := begin(s, numbered(1), claim(mine)); err == nil || errors.Is(err, dedup.ErrRefused) {
		t.Errorf("begin: %v", err)
	}
	proxy.Heal()
	await(t, 10*time.Second, "the claim is found", func() bool {
		found, err := begin(s, numbered(1), claim(mine))
		return err == nil && found.Verdict == record.Acquired
	})
	if found, err := begin(s, numbered(1), claim(his)); err != nil || found.Verdict != record.Busy {
		t.Errorf("%+v, %v", found, err)
	}
}

// TestLostClaimKeepsItsEpoch: a claim on top of an unknown record is no first claim after it was lost, either.
func TestLostClaimKeepsItsEpoch(t *testing.T) {
	server := redistest.Start(t)
	c := &counts{}
	s := open(t, single(server), Deps{Recorder: c})
	first, second := claim(mine), claim(his)
	first.Lease, second.Reclaim = 0, true
	if _, err := begin(s, numbered(1), first); err != nil {
		t.Fatal(err)
	}
	if found, err := begin(s, numbered(1), second); err != nil || found.Epoch != 2 {
		t.Fatalf("%+v, %v", found, err)
	}
	server.Restart()
	await(t, 10*time.Second, "the loss is noticed", func() bool { return c.lost.Load() > 0 })
	if r, err := s.Look(context.Background(), numbered(1)); err != nil || r.Epoch != 2 || r.Token != his {
		t.Errorf("%+v, %v", r, err)
	}
}
