package resilience

import (
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

const again = ", retry: { attempts: 3, floor: 1000, backoff: { base: 1ms, max: 2ms } }"

// Edge case 1: what may have been executed is not sent again.
func TestU01PostIsNotSentAgain(t *testing.T) {
	t.Parallel()
	o := scripted(t, turns("", "RST"))
	g := before(t, o.url, again)
	for _, method := range []string{"POST", "PATCH"} {
		g.want(502, "upstream-failed", method, "/x", "body")
		if n := o.count(method); n != 1 {
			t.Errorf("the upstream saw %d of one %s", n, method)
		}
	}
}

// Edge case 2: a target that takes no connection costs no request, whatever its method, with and without retry.
func TestU02RefusedPostGoesElsewhere(t *testing.T) {
	t.Parallel()
	o := scripted(t, gives(fine))
	dead := "http://" + refusing(t)
	g := begin(t, "", up("plain", "", dead, o.url)+up("again", again, dead, o.url), route("plain", "/plain", "", "plain")+route("again", "/again", "", "again"))
	for range 4 {
		g.want(200, "", "POST", "/plain", "body")
		g.want(200, "", "POST", "/again", "body")
	}
	if ids := o.repeated(); len(ids) > 0 || o.count() != 8 {
		t.Errorf("%d requests, repeated: %v", o.count(), ids)
	}
}

// Edge case 3: a kept connection that the upstream closed is seen before anything is written on it.
func TestU03StaleConnectionsLoseNoPost(t *testing.T) {
	t.Parallel()
	o := scripted(t, func(p *peer) {
		if p.request() != nil {
			time.Sleep(30 * time.Millisecond) // so that several connections are needed
			p.say(fine)                       // and closes, without having said so
		}
	})
	g := before(t, o.url, "")
	const rounds, crowd = 6, 8
	for range rounds {
		var group sync.WaitGroup
		for range crowd {
			group.Go(func() {
				if a, err := g.call("POST", "/x", "body"); err != nil || a.status != 200 {
					t.Errorf("%d, %v", a.status, err)
				}
			})
		}
		group.Wait()
		g.eventually("the upstream's close", func() bool { return o.connections() == 0 })
		g.want(200, "", "POST", "/x", "body") // passes over all of them
		g.eventually("the upstream's close", func() bool { return o.connections() == 0 })
	}
	if ids := o.repeated(); len(ids) > 0 || o.count() != rounds*(crowd+1) {
		t.Errorf("%d requests, repeated: %v", o.count(), ids)
	}
}

// Edge case 4: a safe request on such a connection is repeated in silence, and costs nothing of the budget.
func TestU04StaleGetCostsNoBudget(t *testing.T) {
	t.Parallel()
	o := scripted(t, turns(fine, "", fine))
	g := before(t, o.url, ", retry: { attempts: 3, floor: 0, budget: 1% }")
	g.want(200, "", "GET", "/x", "")
	g.want(200, "", "GET", "/x", "")
	if r := g.upstreams()["up"].Retries; r.Retries != 0 || r.Calls != 2 || o.count() != 3 {
		t.Errorf("%+v, %d requests at the upstream", r, o.count())
	}
}

// Edge case 5: a body that has left can't be sent again; the client gets the upstream's own answer.
func TestU05StreamedBodyIsNotSentAgain(t *testing.T) {
	t.Parallel()
	o := scripted(t, turns(status("503 Busy", "", "of the upstream")))
	g := before(t, o.url, again)
	a, err := g.streamed("PUT", "/x", "body")
	if g.wanted(503, "", "PUT", a, err).body != "of the upstream" || o.count() != 1 || string(o.all()[0].body) != "body" {
		t.Errorf("%s, %d requests", a.body, o.count())
	}
}

// Edge case 6: a connection that fails takes nothing of the body with it.
func TestU06RefusedDialKeepsTheBody(t *testing.T) {
	t.Parallel()
	o := scripted(t, gives(fine))
	dead := "http://" + refusing(t)
	g := begin(t, "", up("plain", "", dead, o.url)+up("again", again, dead, o.url), route("plain", "/plain", "", "plain")+route("again", "/again", "", "again"))
	body := strings.Repeat("all of it ", 20000)
	for _, path := range []string{"/plain", "/again", "/plain", "/again"} {
		a, err := g.streamed("POST", path, body)
		g.wanted(200, "", "POST "+path, a, err)
	}
	for _, a := range o.all() {
		if string(a.body) != body || a.err != nil {
			t.Errorf("%d bytes arrived, %v", len(a.body), a.err)
		}
	}
}

// Edge case 7: no try is begun that could not end in time.
func TestU07NoTimeForAnotherTry(t *testing.T) {
	t.Parallel()
	o := scripted(t, turns("..."))
	g := begin(t, "", up("up", ", timeout: { first_byte: 195ms }, retry: { attempts: 3, on: [timeout], backoff: { base: 0s } }", o.url), route("all", "/**", ", timeout: 200ms", "up"))
	start := time.Now()
	g.want(504, "upstream-timeout", "GET", "/x", "")
	if took := time.Since(start); took > 600*time.Millisecond || o.count() != 1 {
		t.Errorf("%d tries, %v", o.count(), took)
	}
	if n := g.metric(`gateway_upstream_retries_refused_total{reason="deadline",upstream="up"}`); n != 1 {
		t.Errorf("%v retries refused for want of time", n)
	}
}

// Edge case 8: each try is told what is left, not what there was.
func TestU08RemainingTimeFalls(t *testing.T) {
	t.Parallel()
	left, attempts := triesOf(t, []string{"X-Request-Timeout", "2000"})
	if len(left) != 3 || left[0] > 2000 || left[1] > left[0]-20 || left[2] > left[1]-20 || attempts != "1 2 3" {
		t.Errorf("%v ms left at tries %s", left, attempts)
	}
}

// triesOf makes a call that succeeds at the third try, 30 ms each, and gives what the upstream was told.
func triesOf(t *testing.T, headers []string) (left []int, attempts string) {
	t.Helper()
	o := scripted(t, slowly(30*time.Millisecond, status("503 Busy", "", ""), status("503 Busy", "", ""), fine))
	g := before(t, o.url, ", retry: { attempts: 3, announce: true, floor: 1000, backoff: { base: 1ms, max: 2ms } }")
	g.want(200, "", "GET", "/x", "", headers...)
	for _, a := range o.all() {
		left = append(left, number(a.header.Get("X-Request-Timeout")))
		attempts += a.header.Get("X-Request-Attempt") + " "
	}
	return left, strings.TrimSpace(attempts)
}

// Edge case 9: when all tries fail, the last answer is passed on as it came.
func TestU09LastAnswerIsPassedOn(t *testing.T) {
	t.Parallel()
	o := scripted(t, turns(status("503 Busy", "", "first"), status("503 Busy", "", "second"), status("502 Bad", "X-Of: third\r\n", "third")))
	g := before(t, o.url, again)
	if a := g.want(502, "", "GET", "/x", ""); a.body != "third" || a.header.Get("X-Of") != "third" {
		t.Errorf("%v %s", a.header, a.body)
	}
}

// Edge case 10: a wait that is longer than the time that is left is the client's.
func TestU10RetryAfterThatDoesNotFit(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"429 Slow", "503 Busy"} {
		o := scripted(t, turns(status(code, "Retry-After: 120\r\n", "later")))
		g := begin(t, "", up("up", ", retry: { attempts: 3, on: [\"429\", \"503\"] }", o.url), route("all", "/**", ", timeout: 3s", "up"))
		start := time.Now()
		a := g.want(number(code[:3]), "", "GET", "/x", "")
		if a.header.Get("Retry-After") != "120" || a.body != "later" || o.count() != 1 || time.Since(start) > time.Second {
			t.Errorf("%v %s, %d tries, %v", a.header, a.body, o.count(), time.Since(start))
		}
	}
}

// Edge case 11: 409 is an answer, and no word of retry.
func TestU11ConflictIsNotRetried(t *testing.T) {
	t.Parallel()
	o := scripted(t, turns(status("409 Conflict", "", "taken")))
	g := before(t, o.url, again)
	if a := g.want(409, "", "PUT", "/x", "body"); a.body != "taken" || o.count() != 1 {
		t.Errorf("%s, %d tries", a.body, o.count())
	}
	bad := prepare(t, "", up("up", ", retry: { on: [\"409\"] }", o.url), route("all", "/**", "", "up"))
	if out, err := exec.Command(binary, "check", "-config", bad.file).CombinedOutput(); err == nil || !strings.Contains(string(out), "409") {
		t.Errorf("%v: %s", err, out)
	}
}

// Edge case 12: what its caller tries again already is tried once here: the tries of gateways in a row would multiply.
func TestU12RetriesDoNotMultiply(t *testing.T) {
	t.Parallel()
	o := scripted(t, turns(status("503 Busy", "", "")))
	inner := before(t, o.url, again)
	outer := before(t, "http://"+inner.address, ", retry: { attempts: 3, announce: true, floor: 1000, backoff: { base: 1ms, max: 2ms } }")
	outer.want(503, "", "GET", "/x", "")
	if n := o.count(); n != 5 { // three by the inner one for the first try, one for each of the two others; without the mark: nine
		t.Errorf("the upstream saw %d requests", n)
	}
	before := o.count()
	inner.want(503, "", "GET", "/x", "", "X-Request-Attempt", "2")
	if n := o.count() - before; n != 1 {
		t.Errorf("a marked request was tried %d times", n)
	}
}

// Edge case 13: with few calls a share of them is nothing; the floor is what there is.
func TestU13BudgetAtLowTraffic(t *testing.T) {
	t.Parallel()
	busy := status("503 Busy", "", "")
	floor, none := scripted(t, turns(busy)), scripted(t, turns(busy))
	const words = ", retry: { attempts: 3, budget: 20%, floor: FLOOR, backoff: { base: 0s } }"
	g := begin(t, "", up("floor", strings.Replace(words, "FLOOR", "2", 1), floor.url)+up("none", strings.Replace(words, "FLOOR", "0", 1), none.url),
		route("floor", "/floor", "", "floor")+route("none", "/none", "", "none"))
	g.want(503, "", "GET", "/floor", "")
	g.want(503, "", "GET", "/none", "")
	if floor.count() != 3 || none.count() != 1 {
		t.Errorf("%d tries with a floor, %d without", floor.count(), none.count())
	}
	if n := g.metric(`gateway_upstream_retries_refused_total{reason="budget",upstream="none"}`); n != 1 {
		t.Errorf("%v retries refused by the budget", n)
	}
}
