package e2e

import (
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	fleetWrites  = 1000
	fleetAtOnce  = 48 // requests that are on their way at a time
	fleetPatient = 90 * time.Second
)

// crowd is a thousand clients.
type crowd struct {
	t         *testing.T
	book      *ledger
	bearer    string
	client    *http.Client
	addresses []string
	slots     chan struct{}

	broken  atomic.Int64 // requests without an answer
	busy    atomic.Int64 // answers in-progress
	refused atomic.Int64 // answers that nothing was sent
	mu      sync.Mutex
	ends    map[string]answer
}

func newCrowd(t *testing.T, book *ledger, fleet []*gateway) *crowd {
	c := &crowd{t: t, book: book, bearer: fleet[0].token("-ttl", "12h"), ends: map[string]answer{}, slots: make(chan struct{}, fleetAtOnce)}
	c.client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: fleetAtOnce}}
	t.Cleanup(c.client.CloseIdleConnections)
	for _, g := range fleet {
		c.addresses = append(c.addresses, g.address)
	}
	return c
}

// write is one client: it sends its write until it knows what became of it.
func (c *crowd) write(op string) {
	end := time.Now().Add(fleetPatient)
	for try := rand.IntN(2); ; try++ {
		a, err := c.send(c.addresses[try%2], op)
		final, wait := c.final(op, a, err)
		if final {
			c.end(op, a)
			return
		}
		if time.Now().After(end) {
			c.t.Errorf("%s ended with nothing: %d %s, %v", op, a.status, a.body, err)
			return
		}
		time.Sleep(wait) // as clients do
	}
}

// meet waits until n more were told that nothing was sent.
func (c *crowd) meet(n int64) {
	n += c.refused.Load()
	for end := time.Now().Add(fleetPatient / 4); c.refused.Load() < n; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Error("nobody met it") // the clients go on: they end before the test does
			return
		}
	}
}

// end notes what a client knows; who sent its write twice at once has to be told the same twice.
func (c *crowd) end(op string, a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if other, twice := c.ends[op]; twice && (other.kind() != a.kind() || a.status == 201 && other.body != a.body) {
		c.t.Errorf("%s ended with %d %s and with %d %s", op, other.status, other.body, a.status, a.body)
	}
	c.ends[op] = a
}

func (c *crowd) send(address, op string) (answer, error) {
	c.slots <- struct{}{}
	defer func() { <-c.slots }()
	r, err := http.NewRequest("POST", "http://"+address+"/w", strings.NewReader(op))
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Authorization", c.bearer)
	r.Header.Set("Idempotency-Key", op)
	r.GetBody = nil // the transport must not repeat it by itself: we count what is sent
	got, err := c.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	return answer{got.StatusCode, got.Header, string(text)}, err
}

// final tells whether a client may stop, and else how long it waits.
func (c *crowd) final(op string, a answer, err error) (done bool, wait time.Duration) {
	wait = time.Duration(50+rand.IntN(100)) * time.Millisecond
	if err != nil {
		c.broken.Add(1)
		return false, wait
	}
	switch kind := a.kind(); {
	case a.status == 201 || kind == "outcome-unknown":
		return true, 0
	case kind == "in-progress":
		c.busy.Add(1)
		seconds, _ := strconv.Atoi(a.header.Get("Retry-After"))
		if seconds < 1 {
			c.t.Errorf("%s: in-progress without Retry-After", op)
		}
		return false, time.Duration(seconds) * time.Second
	case a.problem()["safe_same_key_retry"] == true && a.problem()["executed"] == "no" || kind == "draining":
		c.refused.Add(1)
		return false, wait
	}
	c.t.Errorf("%s: %d %s", op, a.status, a.body)
	return true, 0
}

// judge holds every end against the upstream's book, and asks once more at each gateway. It gives how many are unknown.
func (c *crowd) judge() (unknown int) {
	dispatches, never := 0, 0
	for op, first := range c.ends {
		runs := c.book.count(op)
		dispatches += runs
		switch {
		case runs > 1:
			c.t.Errorf("%s ran %d times", op, runs)
		case first.status == 201 && (runs != 1 || first.body != op+" executed 1"):
			c.t.Errorf("%s: %d runs, answer %q", op, runs, first.body)
		case first.status != 201:
			unknown++
			never += 1 - runs
		}
		for _, address := range c.addresses {
			c.again(address, op, first)
		}
		if n := c.book.count(op); n != runs {
			c.t.Errorf("%s ran again when it was asked for", op)
		}
	}
	c.t.Logf("%d writes, %d dispatches, %d unknown (%d of them never ran), %d requests without an answer, %d in-progress, %d refused",
		len(c.ends), dispatches, unknown, never, c.broken.Load(), c.busy.Load(), c.refused.Load())
	if len(c.ends) != fleetWrites {
		c.t.Errorf("%d clients know nothing", fleetWrites-len(c.ends))
	}
	return unknown
}

// again wants a gateway to tell what was told before.
func (c *crowd) again(address, op string, first answer) {
	a, err := c.send(address, op)
	switch {
	case err != nil:
		c.t.Errorf("%s: %v", op, err)
	case first.status == 201 && (a.status != 201 || a.body != first.body || a.header.Get("Idempotent-Replayed") != "true"):
		c.t.Errorf("%s was answered %q, then %d %q", op, first.body, a.status, a.body)
	case first.status != 201 && (a.status != 409 || a.kind() != "outcome-unknown"):
		c.t.Errorf("%s was unknown, then %d %q", op, a.status, a.body)
	}
}
