package dedup_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/memory"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// The edge cases of keyed writes by the numbers of the project's list. Those that a test of this package shows among other
// things are run again here under their numbers; the rest has tests of its own below.

func TestEdge01TwoInTheSameInstant(t *testing.T)          { TestStorm(t) }
func TestEdge02OtherBodyWhileTheFirstRuns(t *testing.T)   { TestAnotherRequest(t) }
func TestEdge04CrashAfterTheClaim(t *testing.T)           { TestSurveyFindsWhatACrashLeft(t) }
func TestEdge05SlowerThanTheLease(t *testing.T)           { TestWhileRunning(t) }
func TestEdge06PausedOwnerIsFenced(t *testing.T)          { TestFencedAndRecreated(t) }
func TestEdge07OwnerWakesWhileUnknown(t *testing.T)       { TestPausedOwnerSaysThatItIsThere(t) }
func TestEdge08ErrorAfterTheEffectIsUnknown(t *testing.T) { TestEveryFailure(t) }
func TestEdge14StoreDownAtBegin(t *testing.T)             { TestStoreDownAtBegin(t) }
func TestEdge15StoreDownAtFinish(t *testing.T)            { TestStoreDownAtFinish(t) }
func TestEdge17BeginTimedOutButWasDone(t *testing.T)      { TestGhostClaim(t) }
func TestEdge21FailoverLostTheClaim(t *testing.T)         { TestVanishedClaimIsHealed(t) }
func TestEdge29FreshTokenIsTheSameClient(t *testing.T)    { TestSameRequest(t) }
func TestEdge31SameKeyOfAnotherClient(t *testing.T)       { TestWhoseKeyItIs(t) }
func TestEdge38QuotedAndBareKeyAreTheSame(t *testing.T)   { TestQuotedAndBareKeysAreTheSame(t) }
func TestEdge39NothingIsBorrowed(t *testing.T)            { TestNothingIsBorrowed(t) }
func TestEdge40And41ClientLeaves(t *testing.T)            { TestClientLeaves(t) }
func TestEdge41And42BodyBeforeTheClaim(t *testing.T)      { TestBodyIsReadBeforeTheClaim(t) }
func TestEdge43And44LargeAnswersAndStreams(t *testing.T)  { TestStreams(t) }
func TestEdge45And46WhichStatusIsKept(t *testing.T)       { TestEveryStatus(t) }
func TestEdge46StoredFailureCanBeReleased(t *testing.T)   { TestReleaseOn(t) }
func TestEdge47And48AnswerAndKeyExpire(t *testing.T)      { TestRetention(t) }
func TestEdge51CapsPerClient(t *testing.T)                { TestNewKeysAreCapped(t); TestStoredBytesAreCapped(t) }
func TestEdge54NegativeOnlyAfterTheSettleTime(t *testing.T) {
	TestNotExecutedCountsAfterTheSettleTime(t)
}

// TestEdge03ClaimFailsAndNothingIsThere: what was there a moment ago is over. Whoever waited is granted a claim or told, never
// let through without one.
func TestEdge03ClaimFailsAndNothingIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fleet := newFleet(t, 2, dedup.Deps{}, waits(30*time.Second))
		fleet[0].upstream = takes(3*time.Second, fails(pipeline.UpstreamFailed, pipeline.EffectNone))
		first := fleet[0].start(post())
		synctest.Wait()
		begins, _ := fleet[0].store.calls()
		held := fleet[1].start(post())
		first.ends(want{kind: pipeline.UpstreamFailed, executed: pipeline.ExecutedNo, same: pipeline.Yes, nu: pipeline.Yes})
		held.ends(executed)
		if after, finishes := fleet[0].store.calls(); after < begins+3 || finishes != 1 {
			t.Errorf("%d begins, %d finishes", after-begins, finishes)
		}
		fleet[0].serve(post(), replayed)
	})
}

// TestEdge09TimeoutIsUnknown: 504 for the first caller, and the call that lands later changes nothing.
func TestEdge09TimeoutIsUnknown(t *testing.T) {
	r := newRig(t)
	r.upstream = fails(pipeline.UpstreamTimeout, pipeline.EffectUnknown)
	r.serve(post(), undecided.with(504))
	r.upstream = answers(201, `{"id":1}`)
	r.serve(post(), undecided.after(1))
}

// TestEdge10ClosedAfterExecuting: nothing but the client sends it again, and not even he.
func TestEdge10ClosedAfterExecuting(t *testing.T) {
	r := newRig(t)
	r.lose(post(), undecided.with(502))
	for range 5 {
		r.serve(post(), undecided.after(1))
	}
}

// TestEdge12DialErrorFreesTheKey: at once.
func TestEdge12DialErrorFreesTheKey(t *testing.T) {
	r := newRig(t)
	r.upstream = fails(pipeline.UpstreamFailed, pipeline.EffectNone)
	r.serve(post(), want{kind: pipeline.UpstreamFailed, executed: pipeline.ExecutedNo, same: pipeline.Yes, nu: pipeline.Yes})
	r.upstream = answers(201, `{"id":1}`)
	r.serve(post(), executed.after(2))
}

// TestEdge13ReleaseFindsItsRecord: in every way in which a key can be scoped, what was freed is free.
func TestEdge13ReleaseFindsItsRecord(t *testing.T) {
	for _, change := range []func(*dedup.Config){
		func(*dedup.Config) {},
		func(c *dedup.Config) { c.Scope = "everything" },
		func(c *dedup.Config) { c.Client = "header:X-Tenant" },
		func(c *dedup.Config) { c.ForwardKey = "as_sent" },
	} {
		r := newRig(t, change)
		tenant := func(m *pipeline.Memory) { m.WithHeader("X-Tenant", "acme") }
		r.upstream = fails(pipeline.UpstreamFailed, pipeline.EffectNone)
		r.serve(post(tenant), want{kind: pipeline.UpstreamFailed, executed: pipeline.ExecutedNo, same: pipeline.Yes, nu: pipeline.Yes})
		r.upstream = answers(201, `{"id":1}`)
		r.serve(post(tenant), executed.after(2))
	}
}

// TestEdge30AnonymousNeedsAScope: an address is nobody's name.
func TestEdge30AnonymousNeedsAScope(t *testing.T) {
	TestNewRefusesWhatHasNoOwner(t)
	r := newRig(t)
	nobody := post(func(m *pipeline.Memory) { m.Client = pipeline.Client{} })
	r.serve(nobody, want{kind: pipeline.BadRequest, executed: pipeline.ExecutedNo, same: pipeline.Yes, nu: pipeline.No})
	r.serve(post(), executed)
	r.serve(post(func(m *pipeline.Memory) { m.ClientIP = m.ClientIP.Next() }), replayed)
}

// TestEdge33OtherEndpointOrQuery: 422.
func TestEdge33OtherEndpointOrQuery(t *testing.T) {
	r := newRig(t)
	r.serve(post(), executed)
	for _, target := range []string{"/refunds?x=1", "/orders?x=1&dry=1", "/orders", "/orders?x=1/"} {
		m := pipeline.NewMemory("POST", target).WithHeader("Idempotency-Key", "k1").WithHeader("Content-Type", "application/json").WithBody([]byte(`{"a":1}`))
		m.Client = pipeline.Client{Identity: "iss|ann"}
		r.serve(m, mismatch)
	}
}

// TestEdge34JSONIsComparedByteByByte: another order of members, or white space, is another request.
func TestEdge34JSONIsComparedByteByByte(t *testing.T) {
	r := newRig(t)
	body := func(s string) func(*pipeline.Memory) { return func(m *pipeline.Memory) { m.WithBody([]byte(s)) } }
	r.serve(post(body(`{"a":1,"b":2}`)), executed)
	r.serve(post(body(`{"a":1,"b":2}`)), replayed)
	for _, other := range []string{`{"b":2,"a":1}`, `{"a":1, "b":2}`, `{"a":1,"b":2}` + "\n", `{"a":1.0,"b":2}`} {
		r.serve(post(body(other)), mismatch)
	}
}

// TestEdge35MultipartRetry: a client that chooses another boundary for the same form gets the first answer.
func TestEdge35MultipartRetry(t *testing.T) {
	r := newRig(t)
	form := func(edge, value string) *pipeline.Memory {
		m := pipeline.NewMemory("POST", "/upload").WithHeader("Idempotency-Key", "k1").WithHeader("Content-Type", "multipart/form-data; boundary="+edge)
		m.Client = pipeline.Client{Identity: "iss|ann"}
		return m.WithBody([]byte("--" + edge + "\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\n" + value + "\r\n--" + edge + "--\r\n"))
	}
	m := form("first", "1")
	before := string(m.Got.Header("Content-Type"))
	r.serve(m, executed)
	if body, _ := m.Request.Buffer(1 << 10); !strings.HasPrefix(string(body), "--first\r\n") || string(m.Got.Header("Content-Type")) != before {
		t.Error("the upstream must see what was sent")
	}
	r.serve(form("second", "1"), replayed)
	r.serve(form("second", "2"), mismatch)
}

// TestEdge36FieldsThatDifferInEveryAttempt are not looked at: the list says which are.
func TestEdge36FieldsThatDifferInEveryAttempt(t *testing.T) {
	r := newRig(t)
	r.serve(post(), executed)
	r.serve(post(func(m *pipeline.Memory) {
		for _, name := range []string{"Date", "Traceparent", "Tracestate", "X-Request-Id", "User-Agent", "Cookie", "Accept", "Accept-Encoding", "Authorization"} {
			m.WithHeader(name, "another")
		}
	}), replayed)
	TestValidate(t)
}

// TestEdge37AnswersAreAskedForPlain: so that a retry with another Accept-Encoding can read what was stored.
func TestEdge37AnswersAreAskedForPlain(t *testing.T) {
	r := newRig(t)
	accepts := func(encoding string) func(*pipeline.Memory) {
		return func(m *pipeline.Memory) { m.WithHeader("Accept-Encoding", encoding) }
	}
	r.upstream = func(ctx context.Context, x *pipeline.Exchange) error {
		sent := string(x.Request.Header("Accept-Encoding"))
		for _, f := range x.Outgoing.Fields() {
			if f.Name == "Accept-Encoding" {
				sent = string(f.Value)
			}
		}
		if sent != "identity" {
			t.Errorf("the upstream is asked for %q", sent)
		}
		return answers(201, `{"id":1}`)(ctx, x)
	}
	r.serve(post(accepts("gzip, br")), executed)
	r.serve(post(accepts("identity")), replayed)
	get := pipeline.NewMemory("GET", "/orders")
	r.upstream = answers(201, "")
	r.serve(get, want{status: 201})
	if len(get.Outgoing.Fields()) != 0 {
		t.Error("what is not protected may be encoded")
	}
}

// TestEdge53StoppingLeavesTheRestToTheLease: results are stored as long as the stop has time; what is not is unknown, never free.
func TestEdge53StoppingLeavesTheRestToTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fleet := newFleet(t, 2, dedup.Deps{})
		fleet[0].store.set(func(f *flaky) { f.finish = errDown })
		fleet[0].serve(post(), notPersisted)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := fleet[0].records.Close(ctx); err == nil {
			t.Error("what was lost is not told")
		}
		fleet[0].store.set(func(f *flaky) { f.finish = nil })
		fleet[1].serve(post(), inProgress)
		time.Sleep(time.Minute)
		fleet[1].serve(post(), undecided)
	})
}

// TestEdge49SettingsChangeBetweenAttempts: a record is read by whatever the document says now; where the fingerprint's fields
// change, a repetition is refused, never executed.
func TestEdge49SettingsChangeBetweenAttempts(t *testing.T) {
	r := newRig(t)
	r.serve(post(), executed)
	for name, change := range map[string]func(*dedup.Config){
		"retention":      func(c *dedup.Config) { c.Keep = dedup.Keep{Answer: 1, Key: 1} },
		"answers":        func(c *dedup.Config) { c.MaxAnswer, c.KeepHeaders = 1, []string{"X-Order"} },
		"key":            func(c *dedup.Config) { c.Key, c.ForwardKey = "required", "as_sent" },
		"upstream dedup": dedups,
		"status check":   checked,
		"methods":        func(c *dedup.Config) { c.Methods = []string{"POST", "PUT"} },
	} {
		t.Log(name)
		r.serveOn(r.route("orders", change), post(), replayed)
	}
	stricter := r.route("orders", func(c *dedup.Config) { c.FingerprintHeaders = []string{"Content-Type", "X-Version"} })
	r.serveOn(stricter, post(), mismatch.after(1))
}

// TestEdge50AnotherSecretFindsNothing: that is why it is made once for a store, kept there, and never rotated.
func TestEdge50AnotherSecretFindsNothing(t *testing.T) {
	store := &flaky{Store: memory.New(memory.Options{})}
	newGate(t, store, store, dedup.Deps{}).serve(post(), executed)
	newGate(t, store, store, dedup.Deps{}).serve(post(), want{status: 201, said: "replayed"})
	newGate(t, store, store, dedup.Deps{Secrets: dedup.FixedSecret{2}}).serve(post(), executed)
}
