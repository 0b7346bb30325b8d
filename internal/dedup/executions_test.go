package dedup_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// ask is a question about a write by its reference.
func (r *rig) ask(method, ref, identity string, change ...func(*dedup.Config)) (*pipeline.Memory, error) {
	cfg := config()
	for _, f := range change {
		f(&cfg)
	}
	m := pipeline.NewMemory(method, "/-/executions/"+ref)
	m.Client = pipeline.Client{Identity: identity}
	return m, dedup.Executions(cfg, r.records).Serve(context.Background(), &m.Exchange)
}

// TestExecutionsByState: what its own client is told of a write.
func TestExecutionsByState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFleet(t, 1, dedup.Deps{})[0]
		var ref string
		told := func(state, known string, status float64, more ...string) {
			t.Helper()
			m, err := r.ask("GET", ref, "iss|ann")
			if err != nil || m.Sent.Status() != 200 || string(m.Sent.Header("Content-Type")) != "application/json" || string(m.Sent.Header("Cache-Control")) != "no-store" {
				t.Fatalf("%v, %d", err, m.Sent.Status())
			}
			var got map[string]any
			if err := json.Unmarshal(m.Sent.Body(), &got); err != nil {
				t.Fatal(err)
			}
			if got["operation_ref"] != ref || got["state"] != state || got["executed"] != known || got["attempt"] != 1.0 ||
				got["safe_same_key_retry"] != true || got["safe_new_key"] != false || status != 0 && got["original_status"] != status {
				t.Errorf("%v", got)
			}
			for _, name := range append(more, "first_seen", "key_until") {
				if got[name] == nil {
					t.Errorf("%s: no %s", state, name)
				}
			}
			if retry := string(m.Sent.Header("Retry-After")); (state == "in_flight") != (retry == "5") {
				t.Errorf("%s: Retry-After %q", state, retry)
			}
			head, err := r.ask("HEAD", ref, "iss|ann") // the edge leaves its body out
			if err != nil || !bytes.Equal(head.Sent.Body(), m.Sent.Body()) {
				t.Errorf("HEAD: %v", err)
			}
		}
		r.upstream = takes(time.Second, answers(201, `{"id":1}`, "Location", `/orders/"1"`))
		first := r.start(post())
		synctest.Wait()
		ref = r.serve(post(), inProgress).Problem.OperationRef
		told("in_flight", "in_progress", 0)
		first.ends(executed)
		told("completed", "yes", 201, "location", "original_request_id", "answer_until")
		time.Sleep(24 * time.Hour)
		told("sealed", "yes", 201, "location")
		time.Sleep(48 * time.Hour)
		if _, err := r.ask("GET", ref, "iss|ann"); err != pipeline.NotFound {
			t.Errorf("after its time: %v", err)
		}
		ref = r.lose(post(), undecided.with(502)).Problem.OperationRef
		told("unknown", "unknown", 0)
	})
}

// TestExecutionsAreTheOwners: to anybody else there is no such write, and a reference can't be made up.
func TestExecutionsAreTheOwners(t *testing.T) {
	r := newRig(t)
	ref := r.lose(post(), undecided.with(502)).Problem.OperationRef
	for _, who := range []string{"iss|bob", "", "ann", "iss|ann "} {
		if m, err := r.ask("GET", ref, who); err != pipeline.NotFound || len(m.Sent.Body()) != 0 {
			t.Errorf("%q: %v, %q", who, err, m.Sent.Body())
		}
	}
	for _, made := range []string{"", "x", ref[1:], ref + "A", ref[:42] + "\n" + ref[42:], "A" + ref[1:], string(bytes.Repeat([]byte("A"), 43))} {
		if _, err := r.ask("GET", made, "iss|ann"); err != pipeline.NotFound && made != ref {
			t.Errorf("%q: %v", made, err)
		}
	}
	byHeader := func(c *dedup.Config) { c.Client = "header:X-Tenant" }
	if _, err := r.ask("GET", ref, "iss|ann", byHeader); err != nil {
		t.Errorf("the owner: %v", err)
	}
}

// TestExecutionsOfWhomAHeaderNames: on a route without authentication the header is the owner.
func TestExecutionsOfWhomAHeaderNames(t *testing.T) {
	byHeader := func(c *dedup.Config) { c.Client = "header:X-Tenant" }
	r := newRig(t, byHeader)
	m := r.lose(post(func(m *pipeline.Memory) { m.Client = pipeline.Client{}; m.WithHeader("X-Tenant", "acme") }), undecided.with(502))
	cfg := config()
	byHeader(&cfg)
	for tenant, there := range map[string]bool{"acme": true, "globex": false, "": false} {
		q := pipeline.NewMemory("GET", "/-/executions/"+m.Problem.OperationRef)
		if tenant != "" {
			q.WithHeader("X-Tenant", tenant)
		}
		if err := dedup.Executions(cfg, r.records).Serve(context.Background(), &q.Exchange); (err == nil) != there {
			t.Errorf("%q: %v", tenant, err)
		}
	}
}

// unsaid is a secret that is not known yet.
type unsaid struct{ secret *dedup.FixedSecret }

func (u *unsaid) Secret(ctx context.Context) ([32]byte, error) {
	if u.secret == nil {
		return [32]byte{}, errDown
	}
	return u.secret.Secret(ctx)
}

// TestSecretThatIsNotKnownYet: nothing is asked, nothing is sent, or it says so.
func TestSecretThatIsNotKnownYet(t *testing.T) {
	secret := &unsaid{}
	r := newFleet(t, 1, dedup.Deps{Secrets: secret})[0]
	m := post()
	err := r.handler.Serve(context.Background(), &m.Exchange)
	r.judge(m, err, storeDown)
	if !errors.Is(err, dedup.ErrRefused) || !errors.Is(err, errDown) || r.calls.Load() != 0 || r.store.begins != 0 {
		t.Errorf("%v, %d calls", err, r.calls.Load())
	}
	for mode, sent := range map[string]int{"derived": 1, "none": 1, "as_sent": 0} {
		open := r.route("orders", allow, func(c *dedup.Config) { c.ForwardKey = mode })
		m := r.serveOn(open, post(), want{status: 201, said: "not-protected", body: `{"id":1}`})
		if f := m.Outgoing.Fields(); len(f) != sent || sent == 1 && f[0].Value != nil {
			t.Errorf("%s: the upstream sees %q", mode, f)
		}
	}
	ref := string(bytes.Repeat([]byte("A"), 43))
	q, err := r.ask("GET", ref, "iss|ann")
	if pipeline.KindOf(err) != pipeline.StoreUnavailable || q.Problem.RetryAfter != 1 || q.Problem.Executed != pipeline.ExecutedUnknown || q.Problem.NewKey != pipeline.No {
		t.Errorf("%v, %+v", err, q.Problem)
	}
	ctx := context.Background()
	_, e1 := r.records.Find(ctx, "a", "", "orders", "k")
	_, e2 := r.records.Settle(ctx, ref, dedup.Settlement{})
	_, e3 := r.records.Open(ctx, 1)
	_, e4 := r.records.Survey(ctx)
	_, e5 := r.records.Erase(ctx, "a", nil)
	for i, err := range []error{e1, e2, e3, e4, e5} {
		if !errors.Is(err, dedup.ErrRefused) {
			t.Errorf("%d: %v", i, err)
		}
	}
	secret.secret = &dedup.FixedSecret{1}
	r.serve(post(), want{status: 201, said: "executed"})
	r.serve(post(), want{status: 201, said: "replayed"})
}

// TestSettle: an operator's word counts for what is unknown, and for nothing else.
func TestSettle(t *testing.T) {
	ctx := context.Background()
	r := newRig(t)
	settle := func(ref string, s dedup.Settlement, state record.State, want error) dedup.Execution {
		t.Helper()
		e, err := r.records.Settle(ctx, ref, s)
		if !errors.Is(err, want) || want == nil && err != nil || e.State != state {
			t.Errorf("%s, %v; want %s, %v", e.State, err, state, want)
		}
		return e
	}
	ref := r.lose(post(), undecided.with(502)).Problem.OperationRef
	e := settle(ref, dedup.Settlement{Executed: true, Status: 201, Location: "/orders/1", KeepKey: time.Hour}, record.Sealed, nil)
	if e.Ref != ref || e.Status != 201 || e.Location != "/orders/1" || e.KeyUntil.Sub(r.clock()) < 71*time.Hour {
		t.Errorf("%+v", e)
	}
	again := r.serve(post(), notKept.after(1))
	if again.Problem.OriginalStatus != 201 || again.Problem.Location != "/orders/1" {
		t.Errorf("%+v", again.Problem)
	}
	settle(ref, dedup.Settlement{}, record.Sealed, dedup.ErrNotUnknown)

	bob := func() *pipeline.Memory { return post(func(m *pipeline.Memory) { m.Client.Identity = "iss|bob" }) }
	ref = r.lose(bob(), undecided.with(502)).Problem.OperationRef
	settle(ref, dedup.Settlement{}, record.Absent, nil)
	settle(ref, dedup.Settlement{}, record.Absent, dedup.ErrNoExecution)
	r.serve(bob(), executed.after(3))
	settle(ref, dedup.Settlement{}, record.Completed, dedup.ErrNotUnknown)
	settle("nonsense", dedup.Settlement{}, record.Absent, dedup.ErrNoExecution)
}

// staleStore settles the record between the look and the word.
type staleStore struct {
	dedup.Store
	between func(record.Key, record.Token)
}

func (s *staleStore) Resolve(ctx context.Context, key record.Key, token record.Token, v record.Resolution) (bool, error) {
	if s.between != nil {
		s.between(key, token)
	}
	return s.Store.Resolve(ctx, key, token, v)
}

// TestSettleThatComesTooLate: the attempt's own late word stands.
func TestSettleThatComesTooLate(t *testing.T) {
	r := newRig(t)
	store := &staleStore{Store: r.store.Store}
	r.store.Store = store
	ref := r.lose(post(), undecided.with(502)).Problem.OperationRef
	store.between = func(key record.Key, token record.Token) {
		_, _ = store.Store.Finish(context.Background(), key, token, record.Result{State: record.Sealed, Status: 201, KeepKey: time.Hour})
	}
	e, err := r.records.Settle(context.Background(), ref, dedup.Settlement{})
	if !errors.Is(err, dedup.ErrNotUnknown) || e.State != record.Sealed || e.Status != 201 {
		t.Errorf("%+v, %v", e, err)
	}
	r.serve(post(), notKept.after(1))
}

func TestFindAndOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		r := newFleet(t, 1, dedup.Deps{})[0]
		ref := r.lose(post(), undecided.with(502)).Problem.OperationRef
		e, err := r.records.Find(ctx, "iss|ann", "", "orders", "k1")
		if err != nil || e.Ref != ref || e.State != record.Unknown || e.Route != "r" || e.Attempt != 1 || !e.LeaseUntil.IsZero() {
			t.Errorf("%+v, %v", e, err)
		}
		for _, other := range [][3]string{{"iss|bob", "orders", "k1"}, {"iss|ann", "refunds", "k1"}, {"iss|ann", "orders", "k2"}} {
			if _, err := r.records.Find(ctx, other[0], "", other[1], other[2]); !errors.Is(err, dedup.ErrNoExecution) {
				t.Errorf("%v: %v", other, err)
			}
		}
		r.upstream = takes(time.Second, answers(201, `{"id":1}`))
		var running []*call
		for i := range 5 {
			running = append(running, r.start(as("iss|ann", fmt.Sprint("r", i))))
		}
		synctest.Wait()
		for most, n := range map[int]int{-1: 0, 0: 0, 1: 1, 3: 3, 100: 6} {
			all, err := r.records.Open(ctx, most)
			if err != nil || len(all) != n || n > 0 && (all[0].Ref != ref || all[0].State != record.Unknown) {
				t.Errorf("%d of %d, %v", len(all), most, err)
			}
		}
		for _, c := range running {
			<-c.done
		}
	})
}

// TestRefsLeadToRecordsOnlyWithTheSecret: two stores' references have nothing in common, nor do they show the forwarded key.
func TestRefsLeadToRecordsOnlyWithTheSecret(t *testing.T) {
	one, two := newFleet(t, 1, dedup.Deps{})[0], newFleet(t, 1, dedup.Deps{Secrets: dedup.FixedSecret{2}})[0]
	ref := one.lose(post(), undecided.with(502)).Problem.OperationRef
	if other := two.lose(post(), undecided.with(502)).Problem.OperationRef; other == ref {
		t.Error("the same reference under two secrets")
	}
	if _, err := two.records.Execution(context.Background(), ref); !errors.Is(err, dedup.ErrNoExecution) {
		t.Error(err)
	}
	if b, err := base64.RawURLEncoding.DecodeString(ref); err != nil || len(b) != 32 {
		t.Errorf("%q", ref)
	}
}
