package leases

import (
	"testing"
	"time"
)

// An operator resets a bucket, or a reload makes it count something else, just while the first draw after an outage tells the store what was admitted without it.
func TestForgetWhileADebtIsBrought(t *testing.T) {
	alone(t, func(t *testing.T, s *Store, src *link) {
		l := fixture{rate: "100/s"}.limit(t, "x")
		take(t, s, l, "", 1)
		time.Sleep(time.Second) // the lease went back
		src.breaks(refuses)
		for range 3 {
			take(t, s, l, "", 1)
		}
		time.Sleep(time.Second)
		src.breaks(lags)
		take(t, s, l, "", 1)
		s.Forget([]byte(l.Name()))
		src.breaks(works)
		time.Sleep(time.Second)
		src.store.Lock()
		brought := src.store.debts
		src.store.Unlock()
		if brought == 0 {
			t.Error("nothing was brought: the test says nothing")
		}
		if held, _, _ := s.Usage([]byte(l.Name()), l); held != 0 {
			t.Errorf("%d tokens are held", held)
		}
		if _, ok := take(t, s, l, "", 1); !ok {
			t.Error("refused after a reset")
		}
	})
}
