package auth

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/auth/keyset"
)

func entryOf(n int, profile uint64, size int) *entry {
	var seed [8]byte
	binary.BigEndian.PutUint64(seed[:], uint64(n))
	c := &claims{members: []member{{name: "sub", text: string(make([]byte, size))}}}
	return &entry{id: cacheKey{sha256.Sum256(seed[:]), profile}, claims: c, key: &keyset.Key{}, until: time.Now().Add(cacheLife)}
}

func TestCacheIsBounded(t *testing.T) {
	now := time.Now()
	byCount := newCache(640, 64<<20)
	for n := range 5000 {
		byCount.put(entryOf(n, 1, 1))
	}
	if got := byCount.len(); got != 640 {
		t.Errorf("%d entries of 640", got)
	}
	byBytes := newCache(100_000, 64*20_000)
	for n := range 5000 {
		byBytes.put(entryOf(n, 1, 4000))
	}
	for i := range byBytes.shards {
		if s := &byBytes.shards[i]; s.bytes > s.maxBytes || len(s.known) == 0 || s.bytes < 0 {
			t.Errorf("shard %d: %d bytes, %d entries", i, s.bytes, len(s.known))
		}
	}
	big := entryOf(1, 1, 30_000)
	byBytes.put(big)
	if byBytes.get(&big.id, now) == big {
		t.Error("an entry larger than a shard was kept")
	}
}

func TestCacheDropsTheLeastUsed(t *testing.T) {
	now := time.Now()
	c := newCache(2*cacheShards, 1<<30)
	var same []*entry // of one shard
	for n := 0; len(same) < 4; n++ {
		if e := entryOf(n, 1, 1); e.id.digest[0]%cacheShards == 0 {
			same = append(same, e)
		}
	}
	c.put(same[0])
	c.put(same[1])
	c.get(&same[0].id, now)
	c.put(same[2])
	if c.get(&same[1].id, now) != nil || c.get(&same[0].id, now) == nil || c.get(&same[2].id, now) == nil {
		t.Error("the least recently used did not go")
	}
	again := *same[0]
	c.put(&again)
	if c.get(&again.id, now) != &again || c.len() != 2 {
		t.Error("the same token takes its own place")
	}
	for _, e := range []*entry{&again, same[2]} {
		e.until = now
		if c.get(&e.id, now) != nil {
			t.Error("an old entry was given")
		}
	}
	if s := c.shard(&again.id); c.len() != 0 || s.bytes != 0 || s.newest != nil || s.oldest != nil {
		t.Error("something is left of an empty shard")
	}
}

func TestCacheKeepsProfilesApart(t *testing.T) {
	c := newCache(1000, 1<<20)
	e := entryOf(1, 1, 1)
	c.put(e)
	other := e.id
	other.profile = 2
	if c.get(&other, time.Now()) != nil || c.get(&e.id, time.Now()) != e {
		t.Error("found under another profile")
	}
}

func TestEntriesLeaveAfterFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := authority(t, map[string]IssuerConfig{"main": secretIssuer()})
		i := a.issuers["main"]
		tok := []byte(hs("exp", time.Now().Unix()+3600))
		look := func(want bool) {
			t.Helper()
			if v := a.verify([]*issuer{i}, tok, &asker{now: time.Now()}); v.reason != accepted || v.cached != want {
				t.Errorf("cached %v: %v", v.cached, v.reason)
			}
		}
		look(false)
		look(true)
		time.Sleep(cacheLife - time.Second)
		look(true)
		time.Sleep(time.Second)
		look(false)
	})
}

func TestFailuresAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := authority(t, map[string]IssuerConfig{"main": secretIssuer()})
		i := a.issuers["main"]
		look := func(tok string, want Reason, cached bool) {
			t.Helper()
			if v := a.verify([]*issuer{i}, []byte(tok), &asker{now: time.Now()}); v.reason != want || v.cached != cached {
				t.Errorf("%v, cached %v", v.reason, v.cached)
			}
		}
		tok := hs()
		forged := tok[:len(tok)-10] + "AAAAAAAAAA"
		look(forged, BadSignature, false)
		look(forged, BadSignature, true)
		time.Sleep(failureLife)
		look(forged, BadSignature, false)
		early := hs("nbf", time.Now().Unix()+40)
		look(early, NotYetValid, false)
		time.Sleep(10 * time.Second) // a failure that passes with time is not kept
		look(early, accepted, false)
		old := hs("exp", 5)
		look(old, Expired, false)
		look(old, Expired, true)
		if n := a.shared.cache.len(); n != 1 {
			t.Errorf("%d good tokens", n)
		}
	})
}

func TestFailuresOfOtherKeysDoNotCount(t *testing.T) {
	f := &failures{}
	id := entryOf(1, 1, 1).id
	now := time.Now()
	f.put(&id, 7, now, BadSignature)
	other := id
	other.profile = 2
	if f.get(&id, 7, now) != BadSignature || f.get(&id, 8, now) != accepted || f.get(&other, 7, now) != accepted || f.get(&id, 7, now.Add(failureLife)) != accepted {
		t.Error("a failure counts for what it is not about")
	}
}

func TestHeaderMemoIsBounded(t *testing.T) {
	m := &memo{}
	h := &header{}
	for n := range 1000 {
		m.put([]byte{byte(n), byte(n >> 8)}, h)
		if len(*m.known.Load()) > maxMemo {
			t.Fatal("over its bound")
		}
	}
	if m.get([]byte{999 & 255, 999 >> 8}) != h || m.get([]byte("x")) != nil {
		t.Error("the memo forgets the last, or finds what it never saw")
	}
	a := authority(t, map[string]IssuerConfig{"main": secretIssuer()})
	v := a.verify([]*issuer{a.issuers["main"]}, []byte(mint("HS256", []byte("another secret"), object{"alg": "HS256"}, good())), &asker{now: time.Now()})
	if v.reason != BadSignature || a.shared.headers.known.Load() != nil {
		t.Error("a forged token got into the memo")
	}
}
