package auth

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/auth/keyset"
)

func idOf(tok []byte, profile uint64) cacheKey { return cacheKey{sha256.Sum256(tok), profile} }

// A flood of forged tokens, new ones and the same again, costs no client its place; what is remembered of it has a bound.
func TestFloodOfForgedTokens(t *testing.T) {
	a := authority(t, map[string]IssuerConfig{"main": secretIssuer()})
	i := a.issuers["main"]
	trusted, now := []*issuer{i}, time.Now()
	var fine [][]byte
	for n := range 500 {
		fine = append(fine, []byte(hs("n", n)))
		if v := a.verify(trusted, fine[n], &asker{now: now}); v.reason != accepted {
			t.Fatal(v.reason)
		}
	}
	headers := len(*a.shared.headers.known.Load())
	forged := []byte(hs())
	tail := forged[len(forged)-16:]
	for n := range 4 * failureSlots {
		copy(tail, fmt.Sprintf("%015dA", n))
		if v := a.verify(trusted, forged, &asker{now: now}); v.reason != BadSignature {
			t.Fatalf("forged token %d: %v", n, v.reason)
		}
	}
	for n, tok := range fine {
		if v := a.verify(trusted, tok, &asker{now: now}); v.reason != accepted || !v.cached {
			t.Fatalf("good token %d: %v, cached %v", n, v.reason, v.cached)
		}
	}
	if n := a.shared.cache.len(); n != len(fine) || len(*a.shared.headers.known.Load()) != headers {
		t.Errorf("%d tokens in the cache", n)
	}
}

// A million distinct good tokens stay under the cap, as counted and as the heap has it.
func TestAMillionTokens(t *testing.T) {
	tokens := 1_000_000
	if raceEnabled || testing.Short() {
		tokens = 150_000
	}
	c := newCache(cacheEntries, cacheBytes)
	key, now := &keyset.Key{}, time.Now()
	before := heap()
	var seed [8]byte
	for n := range tokens {
		binary.BigEndian.PutUint64(seed[:], uint64(n))
		c.put(&entry{id: idOf(seed[:], 1), claims: usual.copy(), key: key, until: now.Add(cacheLife)})
	}
	grown := heap() - before
	counted := 0
	for n := range c.shards {
		if b := c.shards[n].bytes; b > c.shards[n].maxBytes {
			t.Errorf("shard %d holds %d bytes", n, b)
		} else {
			counted += b
		}
	}
	t.Logf("%d tokens: %d kept, %d MiB counted, %d MiB on the heap", tokens, c.len(), counted>>20, grown>>20)
	if counted > cacheBytes || c.len() > cacheEntries || c.len() < 10_000 {
		t.Errorf("%d entries, %d bytes", c.len(), counted)
	}
	if grown > cacheBytes && !raceEnabled {
		t.Errorf("the heap grew by %d bytes, the cap is %d", grown, cacheBytes)
	}
	runtime.KeepAlive(c)
}

// usual are claims of a usual token, and what a reader makes of them.
var usual = func() usualClaims {
	const text = `{"iss":"https://id.test/","aud":"api","sub":"user-123456","iat":1800000000,"exp":1800000600,"scope":"read write orders:read","tenant":"a","roles":["admin","editor"],"jti":"123456789"}`
	c, _ := parseClaims(scratches.Get().(*scratch), []byte(text))
	return usualClaims{c, text}
}()

type usualClaims struct {
	claims *claims
	text   string
}

// copy allocates as reading the text anew would.
func (u usualClaims) copy() *claims {
	text := strings.Clone(u.text)
	c := &claims{members: append(make([]member, 0, cap(u.claims.members)), u.claims.members...), scopes: slices.Clone(u.claims.scopes)}
	for i := range c.members {
		m := &c.members[i]
		if m.list = slices.Clone(m.list); m.list != nil {
			m.text = strings.Clone(m.text)
		} else if at := strings.Index(u.text, m.text); at >= 0 {
			m.text = text[at : at+len(m.text)]
		}
	}
	return c
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// However large its claims, an entry is counted for at least what it takes.
func TestEntriesAreCountedInFull(t *testing.T) {
	key, now := &keyset.Key{}, time.Now()
	s := scratches.Get().(*scratch)
	for name, payload := range map[string]string{
		"small": `{"sub":"a"}`, "nested": `{"sub":"a","realm_access":{"roles":["a","b"]},"resource_access":{"x":{"roles":["y"]},"z":{"roles":["y"]}}}`,
		"list": `{"roles":[` + listOf(200) + `]}`, "objects": `{"o":{` + membersOf(200) + `}}`, "members": `{` + membersOf(200) + `}`,
	} {
		const copies = 2000
		c := newCache(copies*2, 1<<40)
		before := heap()
		var seed [8]byte
		for n := range copies {
			binary.BigEndian.PutUint64(seed[:], uint64(n))
			parsed, ok := parseClaims(s, []byte(payload))
			if !ok {
				t.Fatal(name)
			}
			c.put(&entry{id: idOf(seed[:], 1), claims: parsed, key: key, until: now.Add(cacheLife)})
		}
		grown, counted := heap()-before, int64(0)
		for n := range c.shards {
			counted += int64(c.shards[n].bytes)
		}
		if grown > counted && !raceEnabled {
			t.Errorf("%s: %d bytes an entry on the heap, %d counted", name, grown/copies, counted/copies)
		}
		runtime.KeepAlive(c)
	}
}

func listOf(n int) (text string) {
	for i := range n {
		text += fmt.Sprintf(`"role-%d",`, i)
	}
	return text[:len(text)-1]
}

func membersOf(n int) (text string) {
	for i := range n {
		text += fmt.Sprintf(`"m%d":%d,`, i, i)
	}
	return text[:len(text)-1]
}
