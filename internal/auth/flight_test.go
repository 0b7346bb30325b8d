package auth

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/auth/keyset"
)

// What waits gets the leader's outcome, and only for the very same token, issuer and key.
func TestIdenticalTokensShareACheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := authority(t, map[string]IssuerConfig{"main": secretIssuer()})
		i := a.issuers["main"]
		trusted := []*issuer{i}
		tok, now := []byte(hs()), time.Now()
		id := idOf(tok, i.profile)
		set, _ := i.keys.Current(now)
		key := set.Find("", false, keyset.Find("HS256"))
		lead, first := a.shared.flights.join(&id, key)
		if !first || key == nil {
			t.Fatal("nobody leads")
		}
		outcomes := make(chan verified, 3)
		for range 3 {
			go func() { outcomes <- a.verify(trusted, tok, &asker{now: now}) }()
		}
		synctest.Wait()
		if len(outcomes) != 0 {
			t.Error("somebody checked a token that is being checked")
		}
		if v := a.verify(trusted, []byte(hs("sub", "bob")), &asker{now: now}); v.reason != accepted || v.entry.client.Subject != "bob" {
			t.Error("another token waits")
		}
		lead.entry, lead.reason = &entry{expires: seconds(now) + 5}, accepted
		a.shared.flights.land(&id, lead)
		for range 3 {
			if v := <-outcomes; v.entry != lead.entry || v.reason != accepted {
				t.Errorf("not the leader's outcome: %v", v.reason)
			}
		}
		if v := a.verify(trusted, tok, &asker{now: now}); v.reason != accepted || v.entry == lead.entry {
			t.Error("a flight that has landed gives its outcome")
		}
	})
}

// A leader that fails, or whose outcome is over, lets nobody pass; another key is another flight.
func TestFlightsFailClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := authority(t, map[string]IssuerConfig{"main": secretIssuer()})
		i := a.issuers["main"]
		tok, now := []byte(hs()), time.Now()
		id := idOf(tok, i.profile)
		set, _ := i.keys.Current(now)
		key := set.Find("", false, keyset.Find("HS256"))
		for want, outcome := range map[Reason]*flight{Malformed: nil, BadSignature: {reason: BadSignature}, Expired: {reason: accepted, entry: &entry{expires: 5}}} {
			lead, _ := a.shared.flights.join(&id, key)
			got := make(chan Reason)
			go func() { got <- a.verify([]*issuer{i}, tok, &asker{now: now}).reason }()
			synctest.Wait()
			if outcome != nil {
				lead.entry, lead.reason = outcome.entry, outcome.reason
			}
			a.shared.flights.land(&id, lead)
			if reason := <-got; reason != want {
				t.Errorf("%v, want %v", reason, want)
			}
			a.shared.failures = failures{}
		}
		lead, _ := a.shared.flights.join(&id, &keyset.Key{})
		if v := a.verify([]*issuer{i}, tok, &asker{now: now}); v.reason != accepted {
			t.Errorf("another key: %v", v.reason)
		}
		a.shared.flights.land(&id, lead)
		for n := range a.shared.flights.shards {
			if len(a.shared.flights.shards[n].now) != 0 {
				t.Error("a flight never ended")
			}
		}
	})
}
