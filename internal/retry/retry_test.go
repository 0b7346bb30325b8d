package retry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// step is what the scripted upstream does with one call.
type step struct {
	status int
	err    error
	effect pipeline.Effect
	after  string // Retry-After
	takes  time.Duration
}

var (
	refused = step{err: pipeline.UpstreamFailed}
	slowSyn = step{err: pipeline.UpstreamTimeout}
	reset   = step{err: fmt.Errorf("x: %w", pipeline.UpstreamFailed), effect: pipeline.EffectUnknown}
	silent  = step{err: pipeline.UpstreamTimeout, effect: pipeline.EffectUnknown}
	open    = step{err: pipeline.UpstreamOpen}
	full    = step{err: pipeline.Overloaded}
)

func answers(status int) step { return step{status: status, effect: pipeline.EffectDone} }

// script answers calls one after the other; the last step again and again.
type script struct {
	steps []step
	calls []time.Time
	seen  []string // what was announced
}

func (s *script) Serve(_ context.Context, x *pipeline.Exchange) error {
	now := s.steps[min(len(s.calls), len(s.steps)-1)]
	s.calls = append(s.calls, time.Now())
	for _, f := range x.Outgoing.Fields() {
		if f.Value != nil {
			s.seen = append(s.seen, f.Name+"="+string(f.Value))
		}
	}
	time.Sleep(now.takes)
	x.Effect = max(x.Effect, now.effect)
	x.Attempt.Count++
	if now.err != nil {
		x.Response.Reset()
		return now.err
	}
	x.Response.SetStatus(now.status)
	if now.after != "" {
		x.Response.Set("Retry-After", []byte(now.after))
	}
	x.Response.SetStream(io.NopCloser(strings.NewReader("body")), 4)
	x.AtEnd(func(*pipeline.Exchange, pipeline.End) {})
	return nil
}

type told struct{ retried, refused []string }

func (t *told) Retried(_, why string)      { t.retried = append(t.retried, why) }
func (t *told) RetryRefused(_, why string) { t.refused = append(t.refused, why) }
func (t *told) Hedged(string, bool, bool)  {}

func usual() Config {
	return Config{
		Attempts: 3, Budget: 0.2, Floor: 10,
		Backoff: Backoff{Base: units.Duration(25 * time.Millisecond), Max: units.Duration(time.Second)},
	}
}

// run serves m through the layer, under fake time.
func run(t *testing.T, cfg Config, m *pipeline.Memory, steps ...step) (*script, *told, error) {
	t.Helper()
	s, rec := &script{steps: steps}, &told{}
	var err error
	synctest.Test(t, func(*testing.T) {
		m.Start = time.Now()
		m.Deadline = m.Start.Add(10 * time.Second)
		err = New("u", cfg, Deps{State: NewState(), Recorder: rec})(s).Serve(context.Background(), &m.Exchange)
	})
	return s, rec, err
}

func request(method string) *pipeline.Memory {
	m := pipeline.NewMemory(method, "/x")
	if method == "POST" || method == "PUT" {
		m.WithBody([]byte("body"))
	}
	return m
}

// The rows of the outcome table that a retry decides on.
func TestWhatIsTriedAgain(t *testing.T) {
	for _, c := range []struct {
		name, method string
		steps        []step
		on           []string
		calls        int
		status       int
		kind         pipeline.Refusal
	}{
		{"refused, any method", "POST", []step{refused, answers(201)}, nil, 2, 201, 0},
		{"connect timed out", "POST", []step{slowSyn, answers(201)}, nil, 2, 201, 0},
		{"refused and not asked for", "GET", []step{refused}, []string{"503"}, 1, 0, pipeline.UpstreamFailed},
		{"POST after it was written (edge case 1)", "POST", []step{reset, answers(200)}, nil, 1, 0, pipeline.UpstreamFailed},
		{"GET reset", "GET", []step{reset, answers(200)}, nil, 2, 200, 0},
		{"PUT reset, body replayed", "PUT", []step{reset, answers(200)}, nil, 2, 200, 0},
		{"PATCH reset", "PATCH", []step{reset}, nil, 1, 0, pipeline.UpstreamFailed},
		{"GET silent, by default not", "GET", []step{silent}, nil, 1, 0, pipeline.UpstreamTimeout},
		{"GET silent, asked for", "GET", []step{silent, answers(200)}, []string{"timeout"}, 2, 200, 0},
		{"POST silent, asked for", "POST", []step{silent}, []string{"timeout"}, 1, 0, pipeline.UpstreamTimeout},
		{"GET 503", "GET", []step{answers(503), answers(200)}, nil, 2, 200, 0},
		{"POST 503", "POST", []step{answers(503)}, nil, 1, 503, 0},
		{"GET 500 by default not", "GET", []step{answers(500)}, nil, 1, 500, 0},
		{"GET 500 asked for", "GET", []step{answers(500), answers(200)}, []string{"500"}, 2, 200, 0},
		{"GET 501", "GET", []step{answers(501)}, nil, 1, 501, 0},
		{"GET 409 (edge case 11)", "GET", []step{answers(409)}, nil, 1, 409, 0},
		{"GET 404", "GET", []step{answers(404)}, nil, 1, 404, 0},
		{"GET 429 asked for", "GET", []step{answers(429), answers(200)}, []string{"429"}, 2, 200, 0},
		{"the last answer, not one of ours (edge case 9)", "GET", []step{answers(503)}, nil, 3, 503, 0},
		{"errors to the end", "GET", []step{reset}, nil, 3, 0, pipeline.UpstreamFailed},
		{"a breaker's refusal", "GET", []step{open}, nil, 1, 0, pipeline.UpstreamOpen},
		{"a bulkhead's refusal", "GET", []step{full}, nil, 1, 0, pipeline.Overloaded},
		{"the client left", "GET", []step{{err: pipeline.ClientGone}}, nil, 1, 0, pipeline.ClientGone},
	} {
		cfg := usual()
		cfg.On = c.on
		m := request(c.method)
		s, _, err := run(t, cfg, m, c.steps...)
		if len(s.calls) != c.calls || pipeline.KindOf(err) != c.kind || err == nil && m.Sent.Status() != c.status {
			t.Errorf("%s: %d calls, %v, %d", c.name, len(s.calls), err, m.Sent.Status())
		}
	}
}

// A keyed write is sent again only when the first call was proven not to have been sent.
func TestKeyedWritesAreNotRepeated(t *testing.T) {
	for _, c := range []struct {
		first step
		calls int
	}{{refused, 2}, {reset, 1}, {silent, 1}, {answers(503), 1}} {
		m := request("PUT")
		m.Keyed = true
		cfg := usual()
		cfg.On = words
		if s, _, _ := run(t, cfg, m, c.first, answers(200)); len(s.calls) != c.calls {
			t.Errorf("%+v: %d calls", c.first, len(s.calls))
		}
	}
}

// asked counts who wants to send a keyed write again, and lets so many.
type asked struct{ times, grants int }

func (a *asked) Redispatch(context.Context) bool {
	a.times++
	return a.times <= a.grants
}

// Where the upstream deduplicates a keyed write is sent again after what leaves its outcome open, if its claim agrees; an answer
// that settles it is passed on.
func TestKeyedWritesAreRepeatedWhereTheClaimAgrees(t *testing.T) {
	for _, c := range []struct {
		steps               []step
		grants, calls, asks int
	}{
		{[]step{reset, answers(201)}, 9, 2, 1},
		{[]step{silent, reset, answers(201)}, 9, 3, 2},
		{[]step{answers(502), answers(201)}, 9, 2, 1},
		{[]step{answers(504), answers(201)}, 9, 2, 1},
		{[]step{refused, answers(201)}, 9, 2, 0}, // nothing was sent: nobody has to agree
		{[]step{answers(503), answers(201)}, 9, 1, 0},
		{[]step{answers(201)}, 9, 1, 0},
		{[]step{reset, answers(201)}, 0, 1, 1},
		{[]step{reset, reset, answers(201)}, 1, 2, 2},
		{[]step{reset, reset, reset, answers(201)}, 9, 3, 2}, // the attempts are spent
	} {
		m := request("POST")
		claim := &asked{grants: c.grants}
		m.Keyed, m.Again = true, claim
		cfg := usual()
		cfg.On = words
		if s, _, _ := run(t, cfg, m, c.steps...); len(s.calls) != c.calls || claim.times != c.asks {
			t.Errorf("%+v: %d calls, asked %d times", c, len(s.calls), claim.times)
		}
	}
}

// The effect of an exchange is that of all its tries: what was unknown once does not become none.
func TestTheEffectIsThatOfAllTries(t *testing.T) {
	m := request("GET")
	if _, _, err := run(t, usual(), m, reset, refused); err == nil || m.Effect != pipeline.EffectUnknown {
		t.Errorf("%v, effect %v", err, m.Effect)
	}
}

// Edge case 5: a body that is not in memory is sent once; one that was not begun may be.
func TestStreamedBodies(t *testing.T) {
	big := make([]byte, keptBody+1)
	for _, c := range []struct {
		m     *pipeline.Memory
		first step
		calls int
	}{
		{request("PUT").WithBody(big), answers(503), 1},
		{request("PUT").WithBody(big), refused, 2},
		{request("PUT").WithChunkedBody([]byte("x")), reset, 1},
		{request("PUT").WithBody(big[1:]), answers(503), 2},
	} {
		if s, _, _ := run(t, usual(), c.m, c.first, answers(200)); len(s.calls) != c.calls {
			t.Errorf("%d calls, not %d", len(s.calls), c.calls)
		}
	}
	if s, _, err := run(t, usual(), request("PUT").WithBodyError(io.ErrUnexpectedEOF), answers(200)); err == nil || len(s.calls) > 0 {
		t.Error("a client that broke off was called for")
	}
}

func TestWaits(t *testing.T) {
	m := request("GET")
	s, rec, _ := run(t, usual(), m, answers(503))
	for i, longest := range []time.Duration{25 * time.Millisecond, 50 * time.Millisecond} {
		if gap := s.calls[i+1].Sub(s.calls[i]); gap > longest {
			t.Errorf("wait %d took %v", i, gap)
		}
	}
	if !slices.Equal(rec.retried, []string{"503", "503"}) {
		t.Errorf("told %q", rec.retried)
	}
	backoff := usual().Backoff
	for n, want := range map[int]time.Duration{2: 25, 3: 50, 4: 100, 9: 1000} {
		if got := backoff.longest(n); got != want*time.Millisecond {
			t.Errorf("try %d: %v", n, got)
		}
	}
}

// Edge cases 7 and 10, and the wait that an upstream asks for.
func TestWaitsFitTheDeadline(t *testing.T) {
	busy := answers(503)
	busy.after = "2"
	m := request("GET")
	if s, _, _ := run(t, usual(), m, busy, answers(200)); len(s.calls) != 2 || s.calls[1].Sub(s.calls[0]) < 2*time.Second {
		t.Errorf("%v", s.calls)
	}
	busy.after = "120"
	m = request("GET")
	if s, rec, err := run(t, usual(), m, busy, answers(200)); len(s.calls) != 1 || err != nil || string(m.Sent.Header("Retry-After")) != "120" || rec.refused[0] != "deadline" {
		t.Errorf("%d calls, %v", len(s.calls), err)
	}
	late := reset
	late.takes = 10*time.Second - leastTry/2
	if s, _, err := run(t, usual(), request("GET"), late); len(s.calls) != 1 || pipeline.KindOf(err) != pipeline.UpstreamTimeout || !errors.Is(err, pipeline.UpstreamFailed) {
		t.Errorf("%d calls, %v", len(s.calls), err)
	}
}

func TestRetryAfterReadsDates(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "x": 0, "1.5": 0,
		"Mon, 23 Nov 2026 12:00:09 GMT": 9 * time.Second, "Mon, 23 Nov 2026 11:00:00 GMT": 0,
	} {
		if got := retryAfter([]byte(text), now); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// A client that leaves during a wait ends it.
func TestGoneWhileWaiting(t *testing.T) {
	busy := answers(503)
	busy.after = "5"
	m := request("GET")
	m.Leave()
	if s, _, err := run(t, usual(), m, busy); err != pipeline.ClientGone || len(s.calls) != 1 {
		t.Errorf("%v after %d calls", err, len(s.calls))
	}
}

// Edge cases 8 and 12: what is announced is that of each try; a caller's own retry is not multiplied.
func TestAnnounced(t *testing.T) {
	cfg := usual()
	cfg.Announce = true
	slow := reset
	slow.takes = time.Second
	s, _, _ := run(t, cfg, request("GET"), slow, slow, answers(200))
	if len(s.seen) != 6 || s.seen[0] != "X-Request-Attempt=1" || s.seen[1] != "X-Request-Timeout=10000" || s.seen[2] != "X-Request-Attempt=2" || s.seen[3] >= s.seen[1] && len(s.seen[3]) >= len(s.seen[1]) {
		t.Errorf("%q", s.seen)
	}
	if s, _, _ := run(t, usual(), request("GET").WithHeader("X-Request-Attempt", "2"), answers(503)); len(s.calls) != 1 {
		t.Errorf("%d calls for a retry of the caller's", len(s.calls))
	}
}

// A breaker that has opened meanwhile is not asked by a call that would lose the upstream's answer.
func TestReadyIsAskedFirst(t *testing.T) {
	s := &script{steps: []step{answers(503)}}
	m := request("GET")
	err := New("u", usual(), Deps{State: NewState(), Ready: func(time.Time) bool { return false }})(s).Serve(context.Background(), &m.Exchange)
	if err != nil || m.Sent.Status() != 503 || len(s.calls) != 1 {
		t.Errorf("%v, %d", err, m.Sent.Status())
	}
}

// What a try registered for the end runs when it is given up: more tries than an exchange has places.
func TestHooksOfGivenUpTriesRun(t *testing.T) {
	cfg := usual()
	cfg.Attempts, cfg.On = 10, []string{"429"}
	if s, _, err := run(t, cfg, request("GET"), answers(429)); len(s.calls) != 10 || err != nil {
		t.Errorf("%d calls, %v", len(s.calls), err)
	}
}

// Why it was tried again goes to the log; the next upstream, a fallback's, makes its own second dial.
func TestWhatIsLeftBehind(t *testing.T) {
	m := request("GET")
	if _, _, err := run(t, usual(), m, refused, reset, answers(200)); err != nil || m.Attempt.Retried != "reset" || m.Attempt.Once {
		t.Errorf("%v, %+v", err, m.Attempt)
	}
}

// A call that goes well costs the layer nothing.
func TestAllocFree(t *testing.T) {
	next := pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error {
		x.Effect = pipeline.EffectDone
		return nil
	})
	cfg := usual()
	cfg.Announce = true
	h, m := New("u", cfg, Deps{State: NewState()})(next), request("GET").Detach(nil) // whose views allocate nothing
	if n := testing.AllocsPerRun(1000, func() { _ = h.Serve(context.Background(), &m.Exchange) }); n > 0 {
		t.Errorf("%v allocations a call", n)
	}
}
