package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestComposeFirstIsOutermost(t *testing.T) {
	var calls []string
	layer := func(name string) Layer {
		return func(next Handler) Handler {
			return HandlerFunc(func(ctx context.Context, x *Exchange) error {
				calls = append(calls, name)
				err := next.Serve(ctx, x)
				calls = append(calls, "/"+name)
				return err
			})
		}
	}
	end := HandlerFunc(func(context.Context, *Exchange) error { calls = append(calls, "end"); return NotFound })
	err := Compose(end, layer("a"), nil, layer("b")).Serve(t.Context(), &Exchange{})
	if got := strings.Join(calls, " "); got != "a b end /b /a" {
		t.Errorf("order: %s", got)
	}
	if !errors.Is(err, NotFound) {
		t.Errorf("the end's error must come out: %v", err)
	}
}

func TestComposedCallAllocatesNothing(t *testing.T) {
	pass := func(next Handler) Handler {
		return HandlerFunc(func(ctx context.Context, x *Exchange) error { return next.Serve(ctx, x) })
	}
	h := Compose(HandlerFunc(func(context.Context, *Exchange) error { return Overloaded }), pass, pass, pass)
	x, ctx := &Exchange{}, t.Context()
	if n := testing.AllocsPerRun(100, func() {
		if KindOf(h.Serve(ctx, x)) != Overloaded {
			t.Fatal("kind lost")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The contract's table: kind, HTTP status, gRPC status, whether it counts against the upstream.
const refusalContract = `bad-request 400 3 false
unauthenticated 401 16 false
forbidden 403 7 false
not-found 404 12 false
method-not-allowed 405 12 false
request-timeout 408 4 false
in-progress 409 10 false
outcome-unknown 409 10 true
result-unavailable 409 10 false
too-large 413 8 false
header-too-large 431 8 false
key-reused 422 9 false
key-missing 400 3 false
key-invalid 400 3 false
rate-limited 429 8 false
overloaded 503 14 false
upstream-open 503 14 false
upstream-failed 502 14 true
upstream-timeout 504 4 true
store-unavailable 503 14 false
auth-unavailable 503 14 false
draining 503 14 false
internal 500 13 false
expectation-failed 417 3 false
version-not-supported 505 12 false
gone 410 12 false
misdirected 421 9 false
client-gone 499 1 false
`

func TestRefusalTable(t *testing.T) {
	var got strings.Builder
	for _, r := range Refusals() {
		fmt.Fprintln(&got, r.Slug(), r.Status(), r.GRPC(), r.CountsAgainstUpstream())
		if r.Title() == "" || !strings.HasSuffix(r.Detail(), ".") {
			t.Errorf("%s: title %q, detail %q", r, r.Title(), r.Detail())
		}
		if r.Error() != r.Slug() {
			t.Errorf("%s: Error is %q", r.Slug(), r.Error())
		}
	}
	if got.String() != refusalContract {
		t.Errorf("table:\n%s\nwant:\n%s", got.String(), refusalContract)
	}
}

func TestKindOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Refusal
	}{
		{nil, 0},
		{RateLimited, RateLimited},
		{fmt.Errorf("bucket x: %w", RateLimited), RateLimited},
		{errors.Join(errors.New("a"), Forbidden), Forbidden},
		{errors.New("unheard of"), Internal},
		{context.Canceled, Internal},
	} {
		if got := KindOf(c.err); got != c.want {
			t.Errorf("KindOf(%v) = %v, want %v", c.err, got, c.want)
		}
	}
	if Refusal(200).Status() != 500 || Refusal(0).Slug() != "internal" {
		t.Error("a kind outside the table is internal")
	}
}

func TestAppendProblem(t *testing.T) {
	p := Problem{Policy: "per-client", Scopes: "a b", Executed: ExecutedInProgress, SameKey: Yes, NewKey: No,
		OperationRef: "op1", OriginalStatus: 201, Location: "/orders/1", Status: 504, RetryAfter: 7}
	want := `{"type":"urn:oncegate:problem:in-progress","title":"Request in progress","status":504,` +
		`"detail":"A request with this idempotency key is still running.","instance":"id-1","policy":"per-client",` +
		`"scopes":"a b","executed":"in_progress","safe_same_key_retry":true,"safe_new_key":false,` +
		`"operation_ref":"op1","original_status":201,"location":"/orders/1"}` + "\n"
	if got := string(AppendProblem(nil, InProgress, []byte("id-1"), &p)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	bare := `{"type":"urn:oncegate:problem:not-found","title":"Not found","status":404,"detail":"No route takes this request."}` + "\n"
	if got := string(AppendProblem(nil, NotFound, nil, &Problem{})); got != bare {
		t.Errorf("got  %s\nwant %s", got, bare)
	}
}

func TestAppendProblemAllocatesNothing(t *testing.T) {
	dst, id, p := make([]byte, 0, 1024), []byte("id"), &Problem{Policy: "x", RetryAfter: 1}
	if n := testing.AllocsPerRun(100, func() { dst = AppendProblem(dst[:0], RateLimited, id, p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestExecutedWords(t *testing.T) {
	all := []Executed{ExecutedUnsaid, ExecutedYes, ExecutedNo, ExecutedUnknown, ExecutedInProgress}
	var words []string
	for _, e := range all {
		words = append(words, e.String())
	}
	if want := []string{"", "yes", "no", "unknown", "in_progress"}; !slices.Equal(words, want) {
		t.Errorf("%q", words)
	}
	if s := fmt.Sprint(EffectNone, EffectUnknown, EffectDone); s != "none unknown done" {
		t.Errorf("effects: %s", s)
	}
}

func FuzzAppendJSONString(f *testing.F) {
	for _, s := range []string{"", "plain", "\"\\", "\x00\n\x7f", "é\xff\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := AppendJSONString(nil, s)
		var back string
		if err := json.Unmarshal(out, &back); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		var want []rune // byte by byte
		for i := range len(s) {
			want = append(want, rune(s[i]))
		}
		if back != string(want) {
			t.Fatalf("%q came back as %q", s, back)
		}
		for _, c := range out {
			if c < 0x20 || c >= 0x7f {
				t.Fatalf("%q holds byte %#x", out, c)
			}
		}
	})
}

func TestAtEndRunsOnceInReverse(t *testing.T) {
	var calls []string
	x := &Exchange{}
	x.Begin(nil, nil, nil)
	for _, name := range []string{"a", "b"} {
		x.AtEnd(func(_ *Exchange, e End) { calls = append(calls, fmt.Sprint(name, e.Status)) })
	}
	x.Finish(End{Status: 204})
	x.Finish(End{Status: 500})
	if got := strings.Join(calls, " "); got != "b204 a204" {
		t.Errorf("calls: %s", got)
	}
	if x.Gone() {
		t.Error("without a liveness nobody is gone")
	}
}

func TestRemaining(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		deadline, limit, want time.Duration // deadline 0: none
		ok                    bool
	}{
		{0, 0, 0, false},
		{0, time.Second, time.Second, true},
		{2 * time.Second, time.Second, time.Second, true},
		{time.Second, 2 * time.Second, time.Second, true},
		{time.Second, 0, time.Second, true},
		{-time.Second, time.Second, -time.Second, true},
	} {
		x := &Exchange{}
		if c.deadline != 0 {
			x.Deadline = now.Add(c.deadline)
		}
		if got, ok := x.Remaining(now, c.limit); got != c.want || ok != c.ok {
			t.Errorf("%+v: %v %v", c, got, ok)
		}
	}
}

func TestOutgoing(t *testing.T) {
	var o Outgoing
	o.Set("A", []byte("1"))
	o.Remove("B")
	o.Set("A", []byte("2"))
	if f := o.Fields(); len(f) != 2 || string(f[0].Value) != "2" || f[1].Value != nil {
		t.Fatalf("%v", f)
	}
	for i := range 22 {
		if !o.Set(fmt.Sprint("X", i), nil) {
			t.Fatalf("%d names must fit", i+3)
		}
	}
	if o.Set("one too many", nil) || !o.Set("A", nil) {
		t.Error("the 25th name is refused, known names are not")
	}
}

func TestParams(t *testing.T) {
	p := Params{Names: []string{"id", "n"}}
	p.Values[1] = []byte("7")
	if string(p.Get("n")) != "7" || p.Get("none") != nil {
		t.Error("Get by name")
	}
}
