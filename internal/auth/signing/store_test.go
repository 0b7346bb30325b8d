package signing

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// Neither many clients nor large tokens make it grow; clients that come back are still known.
func TestBounds(t *testing.T) {
	s := &store{}
	now := time.Now()
	id := func(i int) (id [32]byte) { id[0], id[1], id[2], id[3] = byte(i), byte(i>>8), byte(i>>16), 1; return id }
	known := [32]byte{9: 9}
	for i := range 100_000 {
		s.put(id(i), []byte("x"), now, time.Minute)
		if i == 0 {
			s.put(known, []byte("known"), now, time.Minute)
		}
		if string(s.get(known, now)) != "known" {
			t.Fatalf("after %d clients the one that comes all the time is gone", i)
		}
	}
	if n := s.len(); n > 2*shards*(shardTokens+1) {
		t.Errorf("%d tokens", n)
	}
	if s.get(known, now.Add(time.Minute)) != nil {
		t.Error("beyond its time")
	}
	large := make([]byte, 8<<10)
	for i := range 10_000 {
		s.put(id(i), large, now, time.Minute)
	}
	if n := s.len(); n > 2*shards*(shardBytes/len(large)+1) {
		t.Errorf("%d large tokens", n)
	}
}

func TestConcurrentUse(t *testing.T) {
	s := signer(t, nil, privateFile(t, newKey(t)))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 50 {
				g := grant()
				g.Subject = fmt.Sprint("client-", i%4)
				value, err := s.Authorization(g, time.Now())
				if err != nil {
					t.Error(err)
					return
				}
				if payload, _ := base64.RawURLEncoding.DecodeString(strings.Split(string(value), ".")[1]); !strings.Contains(string(payload), g.Subject) {
					t.Errorf("%s got %s", g.Subject, payload)
				}
			}
		})
	}
	wg.Wait()
}

func TestAHitAllocatesNothing(t *testing.T) {
	s := signer(t, nil, privateFile(t, newKey(t)))
	g, now := grant(), time.Now()
	if n := testing.AllocsPerRun(200, func() {
		if _, err := s.Authorization(g, now); err != nil {
			t.Fatal(err)
		}
	}); n != 0 && !raceEnabled {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAuthorization(b *testing.B) {
	s := signer(b, nil, privateFile(b, newKey(b)))
	g, now := grant(), time.Now()
	b.Run("hit", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = s.Authorization(g, now)
		}
	})
	b.Run("miss", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			g.Expires = float64(now.Unix() + 3600 + int64(i))
			_, _ = s.Authorization(g, now)
		}
	})
}
