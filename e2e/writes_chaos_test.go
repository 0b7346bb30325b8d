package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"
)

// history is every answer that was ever given to a write, by its body, which names client, round and number.
type history struct {
	mu      sync.Mutex
	order   []string
	answers map[string]answer // the first final one; status 0 when nothing came
	probed  int
}

// note keeps the first final answer of a write and gives what is known of it now.
func (h *history) note(op string, a answer) answer {
	h.mu.Lock()
	defer h.mu.Unlock()
	known, seen := h.answers[op]
	if !seen {
		h.order = append(h.order, op)
	}
	if known.status == 0 {
		known = a
	}
	h.answers[op] = known
	return known
}

// some gives up to n writes of all rounds, and those of the newest round that the end met on their way.
func (h *history) some(n, round int) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	ops := append([]string(nil), h.order...)
	rand.Shuffle(len(ops), func(i, j int) { ops[i], ops[j] = ops[j], ops[i] })
	var met []string
	for _, op := range ops {
		if len(met) < n && h.answers[op].status == 0 && roundOf(op) == round {
			met = append(met, op)
		}
	}
	return append(met, ops[:min(n, len(ops))]...)
}

func roundOf(op string) (round int) {
	var client string
	_, _ = fmt.Sscanf(op, "%s key-%d", &client, &round)
	return round
}

// TestChaosStopsDuringKeyedWrites ends the gateway by kill -9 and by SIGTERM in turn while two clients write under the same
// keys, and looks after each restart at answers of all rounds: nothing runs twice, nobody gets another's answer, every answer
// that was given is given again, a key never takes a second body, and after SIGTERM nothing is unknown.
func TestChaosStopsDuringKeyedWrites(t *testing.T) {
	book := &ledger{runs: map[string]int{}}
	up := serve(t, book.serve)
	g := begin(t, fmt.Sprintf(keyed, up.url))
	c := &chaos{gateway: g, book: book, past: &history{answers: map[string]answer{}}, bearer: map[string]string{"alice": g.token("-ttl", "12h"), "bob": g.token("-sub", "bob", "-ttl", "12h")}}
	for round := range chaosRounds(t) {
		how := []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM}[round%2]
		c.load(round, how)
		g.start()
		unknown := c.judgeAll(how, round)
		t.Logf("round %d, %v: %d writes so far, %d wrong bodies, %d of the sample unknown", round, how, len(c.past.order), c.past.probed, unknown)
	}
	if c.past.probed == 0 {
		t.Error("no wrong body was tried")
	}
}

type chaos struct {
	*gateway
	book   *ledger
	past   *history
	bearer map[string]string
}

// write sends client's write: the key is the same for both clients, the body is not.
func (c *chaos) write(client, key, body string) (answer, error) {
	return c.call("POST", "/w", body, "Authorization", c.bearer[client], "Idempotency-Key", key)
}

func (c *chaos) load(round int, how syscall.Signal) {
	dead, cut := c.exited, make(chan struct{})
	var group sync.WaitGroup
	for worker := range 8 {
		client := []string{"alice", "bob"}[worker%2]
		group.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-dead:
					return
				case <-cut:
					return
				default:
				}
				c.once(client, fmt.Sprintf("key-%d-%d-%d", round, worker/2, n))
			}
		})
	}
	time.Sleep(time.Duration(150+rand.IntN(200)) * time.Millisecond) // the load itself is what is waited for
	c.signal(how)
	if how == syscall.SIGTERM {
		if code := c.exit(); code != 0 {
			c.t.Errorf("exit %d after SIGTERM: %s", code, c.log)
		}
	}
	<-dead
	close(cut)
	group.Wait()
}

// once writes, and now and then tries the key with another body.
func (c *chaos) once(client, key string) {
	op := client + " " + key
	a, err := c.write(client, key, op)
	if err != nil {
		a = answer{}
	}
	c.past.note(op, a)
	if a.status != http.StatusCreated || rand.IntN(4) > 0 {
		return
	}
	wrong, err := c.write(client, key, "wrong "+op)
	if err == nil && (wrong.status != 422 || wrong.kind() != "key-reused") {
		c.t.Errorf("%s with another body: %d %s", op, wrong.status, wrong.body)
	}
	c.past.mu.Lock()
	c.past.probed++
	c.past.mu.Unlock()
}

// judgeAll asks again for writes of all rounds and holds each against everything that was said before.
func (c *chaos) judgeAll(how syscall.Signal, round int) (unknown int) {
	c.t.Helper()
	for _, op := range c.past.some(80, round) {
		var client, key string
		_, _ = fmt.Sscan(op, &client, &key)
		again, err := c.write(client, key, op)
		if err != nil {
			c.t.Fatalf("%s: %v: %s", op, err, c.log)
		}
		before := c.past.note(op, answer{})
		if before.status == 0 { // no answer came, so both are possible now, and from now on this one
			before = c.past.note(op, again)
			killed := roundOf(op)%2 == 0 // then it may be unknown, though nobody has asked so far
			if how == syscall.SIGTERM && again.status != http.StatusCreated && !killed {
				c.t.Errorf("%s: %d %s after an orderly stop", op, again.status, again.body)
			}
		}
		unknown += c.judge(op, before, again)
		if wrong, err := c.write(client, key, "wrong "+op); err != nil || wrong.status != 422 || c.book.count("wrong "+op) != 0 {
			c.t.Errorf("%s with another body: %v %d %s", op, err, wrong.status, wrong.body)
		}
	}
	return unknown
}

func (c *chaos) judge(op string, before, again answer) int {
	c.t.Helper()
	runs := c.book.count(op)
	switch {
	case runs > 1:
		c.t.Fatalf("%s ran %d times", op, runs)
	case before.status != again.status && !(before.kind() == "outcome-unknown" && again.kind() == "outcome-unknown"):
		c.t.Fatalf("%s: first %d %s, then %d %s", op, before.status, before.body, again.status, again.body)
	case again.status == http.StatusCreated && (runs != 1 || again.body != before.body || again.body != op+" executed 1"):
		c.t.Fatalf("%s: %q, before %q, after %d runs", op, again.body, before.body, runs)
	case again.status == http.StatusCreated:
		return 0
	case again.status != 409 || again.kind() != "outcome-unknown":
		c.t.Fatalf("%s: %d %s", op, again.status, again.body)
	}
	return 1
}
