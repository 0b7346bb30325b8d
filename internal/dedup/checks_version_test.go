package dedup

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// settling is the part of a store that a status check needs.
type settling struct {
	Store
	mu      sync.Mutex
	settled []record.Token
	refuse  bool
	fail    error
}

func (s *settling) Look(context.Context, record.Key) (record.Record, error) {
	return record.Record{}, errors.New("not now") // nothing follows from that
}

func (s *settling) Resolve(_ context.Context, _ record.Key, token record.Token, _ record.Resolution) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled = append(s.settled, token)
	return !s.refuse, s.fail
}

type executedAfter time.Duration

func (d executedAfter) Check(context.Context, string) (CheckVerdict, error) {
	time.Sleep(time.Duration(d))
	return WasExecuted, nil
}

func newTestChecks(s *settling) *checks {
	c := newChecks(s, func(record.Key) string { return "ref" }, unmetered{}, slog.New(slog.DiscardHandler))
	c.use(map[string]Check{"r": {Checker: executedAfter(time.Second), Settle: time.Minute}})
	return c
}

// TestAnotherVersionIsNotLost: it became unknown while the worker settled the one before, and nobody starts another worker.
func TestAnotherVersionIsNotLost(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := &settling{refuse: refuse}
			c := newTestChecks(s)
			defer c.close()
			one, two := record.Token{1}, record.Token{2}
			c.add("r", record.Key{1}, one, "k")
			time.Sleep(500 * time.Millisecond)
			c.add("r", record.Key{1}, two, "k")
			time.Sleep(time.Minute)
			synctest.Wait()
			if len(s.settled) != 2 || s.settled[0] != one || s.settled[1] != two || len(c.tasks) != 0 {
				t.Errorf("settled %v, %d tasks are left", s.settled, len(c.tasks))
			}
		})
	}
}

// TestSettlingIsRepeated: as long as the store fails, and with pauses.
func TestSettlingIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &settling{fail: errors.New("down")}
		c := newTestChecks(s)
		c.add("r", record.Key{1}, record.Token{1}, "k")
		time.Sleep(10 * time.Minute)
		c.close()
		if n := len(s.settled); n < 8 || n > 20 || len(c.tasks) != 0 {
			t.Errorf("%d tries, %d tasks are left", n, len(c.tasks))
		}
	})
}

// TestFollowedRecordsAreBounded: what is not followed now is found by the next survey.
func TestFollowedRecordsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestChecks(&settling{})
		c.use(map[string]Check{"r": {Checker: executedAfter(time.Hour)}})
		for n := range uint16(checksMost + 100) {
			c.add("r", record.Key{byte(n), byte(n >> 8)}, record.Token{1}, "k")
		}
		if len(c.tasks) != checksMost {
			t.Errorf("%d are followed", len(c.tasks))
		}
		c.add("other", record.Key{31: 1}, record.Token{1}, "k")
		c.add("r", record.Key{31: 2}, record.Token{1}, "")
		if len(c.tasks) != checksMost {
			t.Error("followed without a way to ask")
		}
		c.close()
	})
}
