package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/redistest"
)

// fleetOf is a document whose leases are as short as they can be.
const fleetOf = `upstreams: { up: { targets: [%[1]q] } }
routes: [ { id: w, match: { path: /w }, auth: { issuers: [main] }, dedup: { key: required }, timeout: 1s, to: up } ]
`

// TestFleetKilledInTheMiddle: two gateways on one Redis, one of them killed with -9 in the middle of a thousand writes and
// started again, by clients who send their write again, now here, now there, until they know what became of it. No write is
// executed twice, every client ends with the answer or an honest "unknown", and whoever asks again is told the same.
func TestFleetKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	eachFleetRound(t, func(t *testing.T, f *fleet) {
		f.middle(func() {
			f.all[0].kill()
			f.all[0].start() // the clients go on meanwhile
		})
		f.crowd.judge()
		if f.crowd.broken.Load() == 0 {
			t.Error("nobody met the kill")
		}
	})
}

// TestFleetRestartedInTheMiddle: an orderly restart of all gateways, one after the other, leaves nothing unknown.
func TestFleetRestartedInTheMiddle(t *testing.T) {
	eachFleetRound(t, func(t *testing.T, f *fleet) {
		f.middle(func() {
			for _, g := range f.all {
				g.signal(syscall.SIGTERM)
				if code := g.exit(); code != 0 {
					t.Errorf("exit %d: %s", code, g.log)
				}
				g.start()
			}
		})
		if unknown := f.crowd.judge(); unknown != 0 {
			t.Errorf("%d are unknown", unknown)
		}
	})
}

// TestRedisKilledInTheMiddle: Redis, which writes before it answers, is killed with -9 and comes back. Whoever got an answer
// gets it again, also where it could only be stored afterwards.
func TestRedisKilledInTheMiddle(t *testing.T) {
	eachFleetRound(t, func(t *testing.T, f *fleet) {
		f.middle(func() {
			f.redis.Kill()
			f.crowd.meet(2 * fleetAtOnce)
			f.redis.Restart()
		})
		for _, g := range f.all {
			g.eventually("all results to be stored", func() bool { return g.metric("gateway_dedup_backlog") == "0" })
		}
		f.crowd.judge()
	})
}

// TestRedisPausedInTheMiddle: Redis says nothing for longer than a gateway waits, and then does all that it was asked for.
func TestRedisPausedInTheMiddle(t *testing.T) {
	t.Parallel()
	eachFleetRound(t, func(t *testing.T, f *fleet) {
		f.middle(func() {
			f.redis.Pause()
			time.Sleep(3 * time.Second) // longer than claims are waited for
			f.redis.Resume()
		})
		for _, g := range f.all {
			g.eventually("all results to be stored", func() bool { return g.metric("gateway_dedup_backlog") == "0" })
		}
		f.crowd.judge()
		if f.crowd.refused.Load() == 0 {
			t.Error("nobody met the pause")
		}
	})
}

// fleet is two gateways on one Redis, with a crowd of clients.
type fleet struct {
	t      *testing.T
	redis  *redistest.Server
	all    []*gateway
	crowd  *crowd
	half   chan struct{} // closed when half of the writes were executed
	passed atomic.Int64
}

// eachFleetRound runs f once, or as often as ONCEGATE_CHAOS_ROUNDS says.
func eachFleetRound(t *testing.T, f func(t *testing.T, f *fleet)) {
	rounds := 1
	if s := os.Getenv("ONCEGATE_CHAOS_ROUNDS"); s != "" {
		var err error
		if rounds, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	for round := range rounds {
		t.Run(fmt.Sprint("round ", round), func(t *testing.T) { f(t, openFleet(t)) })
	}
}

func openFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{t: t, redis: startRedis(t), half: make(chan struct{})}
	book := &ledger{runs: map[string]int{}}
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if f.passed.Add(1) == fleetWrites/2 {
			close(f.half)
		}
		book.serve(w, r)
	})
	for range 2 {
		g := prepare(t, fmt.Sprintf(fleetOf, up.url))
		g.replace("store: embedded", fmt.Sprintf("store: redis, redis: { addresses: [%q] }", f.redis.Addr))
		g.start()
		t.Cleanup(g.kill)
		f.all = append(f.all, g)
	}
	f.crowd = newCrowd(t, book, f.all)
	return f
}

// middle has the crowd write, disturbs it when half is done, and returns when every client has ended.
func (f *fleet) middle(disturb func()) {
	f.t.Helper()
	var all sync.WaitGroup
	for n := range fleetWrites {
		all.Go(func() { f.crowd.write(fmt.Sprint("op-", n)) })
		if n%10 == 0 { // a client who does not wait for its first try before it makes a second
			all.Go(func() { f.crowd.write(fmt.Sprint("op-", n)) })
		}
	}
	select {
	case <-f.half:
		disturb()
	case <-time.After(fleetPatient):
		f.t.Errorf("the middle was not reached: %d writes", f.passed.Load())
	}
	all.Wait()
}
