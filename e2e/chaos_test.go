package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
)

// ledger is an upstream that notes what it executed before it answers.
type ledger struct {
	mu   sync.Mutex
	runs map[string]int // operation -> executions
}

func (l *ledger) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	l.mu.Lock()
	l.runs[string(body)]++
	n := l.runs[string(body)]
	l.mu.Unlock()
	time.Sleep(time.Duration(rand.IntN(15)) * time.Millisecond) // the window in which a kill finds the write in flight
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, "%s executed %d", body, n)
}

func (l *ledger) count(op string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.runs[op]
}

// TestChaosKillDuringKeyedWrites kills the gateway with -9 again and again while keyed writes run, restarts it on the same
// data folder and repeats every write: nothing runs twice, an answer that was given is given again, and what was in flight
// is said to be unknown.
func TestChaosKillDuringKeyedWrites(t *testing.T) {
	book := &ledger{runs: map[string]int{}}
	up := serve(t, book.serve)
	g := begin(t, fmt.Sprintf(keyed, up.url))
	bearer := g.token("-ttl", "12h")
	for round := range chaosRounds(t) {
		answers := g.killedWrites(round, bearer)
		g.start()
		unknown := 0
		for op, first := range answers {
			again := g.mustCall("POST", "/w", op, "Authorization", bearer, "Idempotency-Key", op)
			unknown += judge(t, op, first, again, book)
		}
		t.Logf("round %d: %d writes, %d unknown", round, len(answers), unknown)
	}
}

// chaosRounds is how often the gateway is ended: a few times in CI, as often as ONCEGATE_CHAOS_ROUNDS says in make chaos.
func chaosRounds(t *testing.T) int {
	t.Helper()
	s := os.Getenv("ONCEGATE_CHAOS_ROUNDS")
	if s == "" {
		return 4
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// killedWrites sends writes from eight clients, kills the gateway in the middle, and gives each write with the answer that
// its client got; status 0 when none came.
func (g *gateway) killedWrites(round int, bearer string) map[string]answer {
	var mu sync.Mutex
	answers := map[string]answer{}
	var group sync.WaitGroup
	dead := g.exited
	for client := range 8 {
		group.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-dead:
					return
				default:
				}
				op := fmt.Sprintf("op-%d-%d-%d", round, client, n)
				a, err := g.call("POST", "/w", op, "Authorization", bearer, "Idempotency-Key", op)
				if err != nil {
					a = answer{}
				}
				mu.Lock()
				answers[op] = a
				mu.Unlock()
			}
		})
	}
	time.Sleep(time.Duration(200+rand.IntN(300)) * time.Millisecond) // the load itself is what is waited for
	g.kill()
	group.Wait()
	return answers
}

func (g *gateway) mustCall(method, path, body string, headers ...string) answer {
	g.t.Helper()
	a, err := g.call(method, path, body, headers...)
	if err != nil {
		g.t.Fatalf("%s %s: %v: %s", method, path, err, g.log)
	}
	return a
}

// judge holds one write against the promise; it gives 1 when its outcome is unknown.
func judge(t *testing.T, op string, first, again answer, book *ledger) int {
	t.Helper()
	if n := book.count(op); n > 1 {
		t.Fatalf("%s ran %d times", op, n)
	}
	if first.status == 201 {
		if again.status != 201 || again.body != first.body || again.header.Get("Idempotent-Replayed") != "true" {
			t.Fatalf("%s was answered %q, then %d %q", op, first.body, again.status, again.body)
		}
		return 0
	}
	switch {
	case again.status == 201: // it never ran before, or its answer was stored and not delivered
		if book.count(op) != 1 {
			t.Fatalf("%s: 201 after %d executions", op, book.count(op))
		}
		return 0
	case again.status == 409 && again.kind() == "outcome-unknown":
		return 1
	}
	t.Fatalf("%s: first %d, then %d %s", op, first.status, again.status, again.body)
	return 0
}
