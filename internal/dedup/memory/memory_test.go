package memory

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/dedup/storetest"
)

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newClock() *clock { return &clock{now: time.Unix(1_700_000_000, 0)} }

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Subject {
		c := newClock()
		return storetest.Subject{Store: New(Options{Now: c.Now}), Advance: c.Advance}
	})
}

func claim(s *Store, n byte) (record.Found, error) {
	return s.Begin(context.Background(), record.Key{n}, record.Claim{Token: record.Token{n}, Lease: time.Second, KeepKey: time.Minute, Grant: true})
}

func TestFullRefusesClaimsAndKeepsTheRest(t *testing.T) {
	c := newClock()
	s := New(Options{Records: 2, Now: c.Now})
	for n := range byte(2) {
		if _, err := claim(s, n); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := claim(s, 9); !errors.Is(err, dedup.ErrRefused) {
		t.Fatalf("a claim above the bound: %v", err)
	}
	r := record.Result{State: record.Completed, Answer: []byte("a"), KeepAnswer: time.Minute, KeepKey: time.Minute}
	if o, err := s.Finish(context.Background(), record.Key{0}, record.Token{0}, r); err != nil || o != record.Stored {
		t.Errorf("finishing a claimed one: %s, %v", o, err)
	}
	if f, err := claim(s, 0); err != nil || f.Verdict != record.Replay {
		t.Errorf("replaying: %s, %v", f.Verdict, err)
	}
	c.Advance(2 * time.Minute)
	if f, err := claim(s, 9); err != nil || f.Verdict != record.Acquired {
		t.Errorf("after everything was over: %s, %v", f.Verdict, err)
	}
}

func TestBytesAreBounded(t *testing.T) {
	s := New(Options{Bytes: 1 << 10})
	if _, err := claim(s, 1); err != nil {
		t.Fatal(err)
	}
	r := record.Result{State: record.Completed, Answer: make([]byte, 2<<10), KeepAnswer: time.Hour, KeepKey: time.Hour}
	if _, err := s.Finish(context.Background(), record.Key{1}, record.Token{1}, r); err != nil {
		t.Fatal(err)
	}
	if _, err := claim(s, 2); !errors.Is(err, dedup.ErrRefused) {
		t.Errorf("a claim above the bound: %v", err)
	}
}

func TestClaimsSweepInPassing(t *testing.T) {
	c := newClock()
	s := New(Options{Now: c.Now})
	for n := range byte(100) {
		if _, err := claim(s, n); err != nil {
			t.Fatal(err)
		}
	}
	c.Advance(time.Hour)
	for n := range byte(150) {
		if _, err := claim(s, 100+n); err != nil {
			t.Fatal(err)
		}
	}
	if s.Len() > 200 {
		t.Errorf("%d records, of which 150 count", s.Len())
	}
	if s.Sweep(); s.Len() != 150 {
		t.Errorf("%d records after a sweep", s.Len())
	}
	c.Advance(time.Hour)
	if s.Sweep(); s.Len() != 0 || s.bytes != 0 {
		t.Errorf("%d records, %d bytes are left", s.Len(), s.bytes)
	}
}

func TestSweepDropsAnswersBeforeKeys(t *testing.T) {
	c := newClock()
	s := New(Options{Now: c.Now})
	r := record.Result{State: record.Completed, Answer: make([]byte, 5000), KeepAnswer: time.Minute, KeepKey: time.Hour}
	if _, err := s.Finish(context.Background(), record.Key{1}, record.Token{1}, r); err != nil {
		t.Fatal(err)
	}
	c.Advance(time.Minute)
	if s.Sweep(); s.Len() != 1 || s.bytes > 1000 {
		t.Errorf("%d records, %d bytes", s.Len(), s.bytes)
	}
}

func TestSecretDiffers(t *testing.T) {
	one, other := New(Options{}), New(Options{})
	first, _ := one.Secret(t.Context())
	if second, _ := other.Secret(t.Context()); first == second {
		t.Error("two stores share a secret")
	}
}
