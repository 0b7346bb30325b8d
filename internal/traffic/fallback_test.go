package traffic

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// fails is an upstream that ends like this.
func fails(err error, effect pipeline.Effect, status int) pipeline.Handler {
	return pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error {
		x.Effect = max(x.Effect, effect)
		if err != nil {
			x.Problem.RetryAfter = 7
			return err
		}
		x.Response.SetStatus(status)
		x.Response.SetBody([]byte("theirs"))
		return nil
	})
}

// on has the upstream dr take over.
func on(words ...string) []Rule { return []Rule{{On: words, Upstream: "dr"}} }

// fellBack notes what it was told. An answer that is given up has to be there still, to be judged.
type fellBack struct {
	what  []string
	ended []string
}

func (f *fellBack) GaveUp(x *pipeline.Exchange, end pipeline.End) {
	switch {
	case end.Err != nil:
		f.ended = append(f.ended, pipeline.KindOf(end.Err).Slug()+" "+end.Kind.Slug())
	default:
		f.ended = append(f.ended, fmt.Sprint(end.Status, " ", x.Response.Status()))
	}
}

func (f *fellBack) FellBack(_, what string) { f.what = append(f.what, what) }

func TestFallback(t *testing.T) {
	none, unknown, done := pipeline.EffectNone, pipeline.EffectUnknown, pipeline.EffectDone
	both := []Rule{{On: []string{"open", "overloaded", "connect", "reset", "timeout", "5xx"}, Upstream: "dr"}, {On: []string{"open", "timeout", "reset", "503"}, Respond: &Respond{Status: 200, Body: "[]"}}}
	for _, c := range []struct {
		name, method string
		keyed        bool
		first        pipeline.Handler
		dr           pipeline.Handler
		rules        []Rule
		want         string // X-Gateway-Fallback, or the first one's status or kind
	}{
		{"fine", "GET", false, fails(nil, done, 200), named("dr"), both, "200"},
		{"connect timed out", "POST", true, fails(pipeline.UpstreamTimeout, none, 0), named("dr"), []Rule{{On: []string{"connect"}, Upstream: "dr"}}, "dr"},
		{"no answer in time is no failed connection", "GET", false, fails(pipeline.UpstreamTimeout, unknown, 0), named("dr"), []Rule{{On: []string{"connect"}, Upstream: "dr"}}, "upstream-timeout"},
		{"404 is an answer", "GET", false, fails(nil, done, 404), named("dr"), both, "404"},
		{"404 by name", "GET", false, fails(nil, done, 404), named("dr"), []Rule{{On: []string{"404"}, Upstream: "dr"}}, "dr"},
		{"open, read", "GET", false, fails(pipeline.UpstreamOpen, none, 0), named("dr"), both, "dr"},
		{"open, write: nothing was sent", "POST", false, fails(pipeline.UpstreamOpen, none, 0), named("dr"), both, "dr"},
		{"open, keyed write: nothing was sent", "POST", true, fails(pipeline.UpstreamOpen, none, 0), named("dr"), both, "dr"},
		{"reset, read", "GET", false, fails(pipeline.UpstreamFailed, unknown, 0), named("dr"), both, "dr"},
		{"reset, write: not twice, but an answer", "POST", false, fails(pipeline.UpstreamFailed, unknown, 0), named("dr"), both, "respond"},
		{"reset, keyed write: neither", "POST", true, fails(pipeline.UpstreamFailed, unknown, 0), named("dr"), both, "upstream-failed"},
		{"503, read", "GET", false, fails(nil, done, 503), named("dr"), both, "dr"},
		{"503, write", "POST", false, fails(nil, done, 503), named("dr"), both, "respond"},
		{"500, write: no rule is left", "POST", false, fails(nil, done, 500), named("dr"), both, "500"},
		{"503, keyed write", "POST", true, fails(nil, done, 503), named("dr"), both, "503"},
		{"both fail, the second rule answers", "GET", false, fails(pipeline.UpstreamOpen, none, 0), fails(pipeline.UpstreamTimeout, unknown, 0), both, "respond"},
		{"both fail, none is left", "GET", false, fails(nil, done, 502), fails(nil, done, 500), both[:1], "dr"},
		{"refused is a 502", "GET", false, fails(pipeline.UpstreamFailed, none, 0), named("dr"), on("502"), "dr"},
		{"reset is a 502", "GET", false, fails(pipeline.UpstreamFailed, unknown, 0), named("dr"), on("502"), "dr"},
		{"refused is 5xx", "GET", false, fails(pipeline.UpstreamFailed, none, 0), named("dr"), on("5xx"), "dr"},
		{"refused is 5xx, and a keyed write was not sent", "POST", true, fails(pipeline.UpstreamFailed, none, 0), named("dr"), on("5xx"), "dr"},
		{"reset is 5xx", "GET", false, fails(pipeline.UpstreamFailed, unknown, 0), named("dr"), on("5xx"), "dr"},
		{"reset is 5xx, but a write may have been sent", "POST", false, fails(pipeline.UpstreamFailed, unknown, 0), named("dr"), on("5xx"), "upstream-failed"},
		{"reset is 5xx, but a keyed write may have been sent", "POST", true, fails(pipeline.UpstreamFailed, unknown, 0), named("dr"), on("5xx"), "upstream-failed"},
		{"timeout is 5xx", "GET", false, fails(pipeline.UpstreamTimeout, unknown, 0), named("dr"), on("5xx"), "dr"},
		{"timeout is a 504", "GET", false, fails(pipeline.UpstreamTimeout, unknown, 0), named("dr"), on("504"), "dr"},
		{"timeout is no 502", "GET", false, fails(pipeline.UpstreamTimeout, unknown, 0), named("dr"), on("502", "reset", "connect"), "upstream-timeout"},
		{"timeout is 5xx, but a write may have been sent", "POST", false, fails(pipeline.UpstreamTimeout, unknown, 0), named("dr"), on("5xx"), "upstream-timeout"},
		{"refused is no 504", "GET", false, fails(pipeline.UpstreamFailed, none, 0), named("dr"), on("504", "503", "reset", "timeout"), "upstream-failed"},
		{"open is no status", "GET", false, fails(pipeline.UpstreamOpen, none, 0), named("dr"), on("5xx", "503"), "upstream-open"},
		{"overloaded is no status", "GET", false, fails(pipeline.Overloaded, none, 0), named("dr"), on("5xx", "503"), "overloaded"},
		{"a failure of ours is no status", "GET", false, fails(pipeline.Internal, none, 0), named("dr"), on("5xx", "500"), "internal"},
		{"the client left", "GET", false, fails(pipeline.ClientGone, unknown, 0), named("dr"), both, "client-gone"},
		{"a 401 of ours", "GET", false, fails(pipeline.Unauthenticated, none, 0), named("dr"), both, "unauthenticated"},
	} {
		var rec fellBack
		m := pipeline.NewMemory(c.method, "/")
		m.Keyed = c.keyed
		h := Fallback(c.rules, "r", map[string]*Branch{"dr": {Name: "dr", Handler: c.dr}}, &rec)(c.first)
		err := h.Serve(context.Background(), &m.Exchange)
		got := string(m.Sent.Header("X-Gateway-Fallback"))
		switch {
		case err != nil:
			got = pipeline.KindOf(err).Slug()
		case got == "":
			got = map[int]string{200: "200", 404: "404", 500: "500", 502: "502", 503: "503"}[m.Sent.Status()]
		case !slices.Equal(rec.what, []string{got}) || m.Problem.RetryAfter != 0:
			t.Errorf("%s: told %q, problem %+v", c.name, rec.what, m.Problem)
		case m.Attempt.Fallback != "dr" && m.Attempt.Fallback != "respond":
			t.Errorf("%s: the log says %q", c.name, m.Attempt.Fallback)
		}
		if got != c.want {
			t.Errorf("%s: %s, not %s", c.name, got, c.want)
		}
	}
}

// In a chain each call is judged by itself: what the first upstream was sent says nothing about how the second failed. Whether
// yet another may be asked is a matter of all of them.
func TestEachCallOfAChainIsJudgedByItself(t *testing.T) {
	none, unknown, done := pipeline.EffectNone, pipeline.EffectUnknown, pipeline.EffectDone
	refused, reset := fails(pipeline.UpstreamFailed, none, 0), fails(pipeline.UpstreamFailed, unknown, 0)
	for _, c := range []struct {
		name, method  string
		first, second pipeline.Handler
		before        pipeline.Effect
		on            string // what the third one is for
		want          string
	}{
		{"500, then refused", "GET", fails(nil, done, 500), refused, none, "connect", "third"},
		{"500, then refused, is no reset", "GET", fails(nil, done, 500), refused, none, "reset", "upstream-failed"},
		{"500, then reset", "GET", fails(nil, done, 500), reset, none, "reset", "third"},
		{"refused, then reset", "GET", refused, reset, none, "reset", "third"},
		{"refused, then reset: a write may have been sent", "POST", refused, reset, none, "reset", "upstream-failed"},
		{"refused, then refused: a write was not sent", "POST", refused, refused, none, "connect", "third"},
		{"sent before, then refused", "GET", refused, refused, unknown, "connect", "third"},
		{"sent before, then refused: a write", "POST", refused, refused, unknown, "connect", "upstream-failed"},
	} {
		m := pipeline.NewMemory(c.method, "/")
		m.Effect = c.before
		rules := []Rule{{On: []string{"5xx", "connect"}, Upstream: "second"}, {On: []string{c.on}, Upstream: "third"}}
		h := Fallback(rules, "r", map[string]*Branch{"second": {Name: "second", Handler: c.second}, "third": {Name: "third", Handler: named("third")}}, nil)(c.first)
		got := ""
		if err := h.Serve(context.Background(), &m.Exchange); err != nil {
			got = pipeline.KindOf(err).Slug()
		} else {
			got = string(m.Sent.Header("X-Gateway-Fallback"))
		}
		if got != c.want || m.Effect < c.before {
			t.Errorf("%s: %q, not %q; effect %v", c.name, got, c.want, m.Effect)
		}
	}
}

// A write that may have been executed stays so, also when the client gets a fixed answer.
func TestAFallbackKeepsTheEffect(t *testing.T) {
	m := pipeline.NewMemory("POST", "/")
	h := Fallback([]Rule{{On: []string{"timeout"}, Respond: &Respond{Status: 200}}}, "r", nil, nil)(fails(pipeline.UpstreamTimeout, pipeline.EffectUnknown, 0))
	if err := h.Serve(context.Background(), &m.Exchange); err != nil || m.Effect != pipeline.EffectUnknown {
		t.Errorf("%v, %v", err, m.Effect)
	}
}

// An upstream that calls its own answer a fallback's is not believed, with or without rules.
func TestOnlyTheGatewayMarksFallbacks(t *testing.T) {
	liar := pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error {
		x.Response.Set("x-gateway-fallback", []byte("respond"))
		return nil
	})
	for _, rules := range [][]Rule{nil, {{On: []string{"open"}, Respond: &Respond{Status: 200}}}} {
		m := pipeline.NewMemory("GET", "/")
		if err := Fallback(rules, "r", nil, nil)(liar).Serve(context.Background(), &m.Exchange); err != nil || m.Sent.Header("X-Gateway-Fallback") != nil {
			t.Errorf("%v, %q", err, m.Sent.Header("X-Gateway-Fallback"))
		}
	}
}

// The time that a client takes for its body is not the upstream's, whoever reads it.
func TestASlowBodyCostsTheFallbackNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := pipeline.NewMemory("OPTIONS", "/").WithBody([]byte("x"))
		m.Deadline = time.Now().Add(time.Second)
		slow := slowly{m.Request}
		m.Exchange.Request = &slow
		before := m.Deadline
		rules := []Rule{{On: []string{"open"}, Respond: &Respond{Status: 200}}}
		if err := Fallback(rules, "r", nil, nil)(named("up")).Serve(context.Background(), &m.Exchange); err != nil || m.Deadline.Sub(before) != 500*time.Millisecond {
			t.Errorf("%v, %v", err, m.Deadline.Sub(before))
		}
	})
}

// slowly is a request whose body takes half a second.
type slowly struct{ pipeline.Request }

func (s *slowly) Buffered() ([]byte, bool) { return nil, false }

func (s *slowly) Buffer(most int64) ([]byte, error) {
	time.Sleep(500 * time.Millisecond)
	return s.Request.Buffer(most)
}

// Each call that is given up is told once, as it ended, before the next begins; a call whose answer is passed on never is.
func TestFallbackTellsWhatItGivesUp(t *testing.T) {
	done := pipeline.EffectDone
	answer := Rule{On: []string{"timeout", "502"}, Respond: &Respond{Status: 200}}
	other := Rule{On: []string{"connect", "500"}, Upstream: "dr"}
	for _, c := range []struct {
		name      string
		first, dr pipeline.Handler
		want      []string
	}{
		{"fine", fails(nil, done, 200), nil, nil},
		{"no rule takes it", fails(nil, done, 501), nil, nil},
		{"an answer", fails(nil, done, 502), nil, []string{"502 502"}},
		{"a failure, and the other fails, too", fails(pipeline.UpstreamFailed, 0, 0), fails(pipeline.UpstreamTimeout, done, 0), []string{"upstream-failed upstream-failed", "upstream-timeout upstream-timeout"}},
		{"the other's answer is passed on", fails(nil, done, 500), fails(nil, done, 501), []string{"500 500"}},
	} {
		var rec fellBack
		m := pipeline.NewMemory("GET", "/")
		branches := map[string]*Branch{"dr": {Name: "dr", Handler: c.dr}}
		_ = Fallback([]Rule{other, answer}, "r", branches, &rec)(c.first).Serve(context.Background(), &m.Exchange)
		if !slices.Equal(rec.ended, c.want) {
			t.Errorf("%s: %q, want %q", c.name, rec.ended, c.want)
		}
	}
}
