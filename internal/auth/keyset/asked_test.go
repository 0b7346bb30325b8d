package keyset

import (
	"testing"
	"testing/synctest"
	"time"
)

// The first request after a start waits for the first fetch, and nobody waits again once that has ended.
func TestAwaitTheFirstFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		s.takes(300 * time.Millisecond)
		s.says(200, jwks(jwkOf(testKeys().p256, "a")))
		r, _ := remote(s)
		defer r.Close()
		began := time.Now()
		if r.Await(100 * time.Millisecond); time.Since(began) != 100*time.Millisecond {
			t.Errorf("gave up after %s", time.Since(began))
		}
		if r.Await(time.Second); time.Since(began) != 300*time.Millisecond || !r.has("a") {
			t.Errorf("awaited %s", time.Since(began))
		}
		if r.Await(time.Second); time.Since(began) != 300*time.Millisecond {
			t.Error("waits for a fetch that has ended")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		s.says(500, nil)
		r, _ := remote(s)
		defer r.Close()
		synctest.Wait()
		began := time.Now()
		if r.Await(time.Second); time.Since(began) != 0 {
			t.Errorf("waited %s after a failure", time.Since(began))
		}
	})
}

// Whoever sends unknown key ids while the server is down causes one fetch in thirty seconds, no row of tries.
func TestUnknownKeysWhileTheServerIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		s.says(200, jwks(jwkOf(testKeys().p256, "a")))
		r, _ := remote(s)
		defer r.Close()
		synctest.Wait()
		s.says(500, nil)
		for range 29 {
			r.Refresh(100 * time.Millisecond)
			time.Sleep(time.Second)
		}
		if n := s.fetches(); n != 2 || !r.has("a") {
			t.Errorf("%d fetches in 29 s", n)
		}
		s.says(200, jwks(jwkOf(testKeys().p256, "b")))
		time.Sleep(20 * time.Second)
		if !r.has("b") {
			t.Error("a server that is back is not asked again")
		}
	})
}
