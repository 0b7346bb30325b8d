package auth

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/oncegate/oncegate/internal/pipeline"
)

func spender(at time.Duration, from string) *asker {
	return &asker{now: time.Unix(1_800_000_000, 0).Add(at), from: netip.MustParseAddr(from)}
}

func TestBudget(t *testing.T) {
	a := &Authority{shared: &shared{budget: newBudget()}, share: 0.01}
	check := func(name string, by *asker, want time.Duration) {
		t.Helper()
		if got := a.overspent(by); got != want {
			t.Errorf("%s: waits %s, want %s", name, got, want)
		}
	}
	me := spender(0, "192.0.2.1")
	check("new", me, 0)
	a.charge(me, 100*time.Millisecond) // 10 s at 1 %
	check("all spent, nothing owed", me, 0)
	a.charge(me, 10*time.Millisecond)
	check("in debt", me, time.Second)
	check("in debt, as IPv6 writes it", spender(0, "::ffff:192.0.2.1"), time.Second)
	check("another address", spender(0, "192.0.2.2"), 0)
	check("half paid back", spender(500*time.Millisecond, "192.0.2.1"), 500*time.Millisecond)
	check("paid back", spender(time.Second, "192.0.2.1"), 0)
	a.charge(me, -10*time.Millisecond)
	check("given back", me, 0)
	a.charge(me, time.Hour)
	check("the deepest debt", me, budgetWindow)
	a.charge(spender(0, "2001:db8:0:1::1"), 110*time.Millisecond)
	check("the same /64", spender(0, "2001:db8:0:1:ffff::2"), time.Second)
	check("the next /64", spender(0, "2001:db8:0:2::1"), 0)
	for _, on := range []spending{onProofs, onPasswords} {
		check("spent on other things", &asker{now: me.now, from: me.from, on: on}, 0)
	}
	a.share = 0
	check("not limited", me, 0)
	a.charge(spender(0, "192.0.2.9"), time.Hour)
	if a.share = 0.01; a.overspent(spender(0, "192.0.2.9")) != 0 {
		t.Error("charged without a limit")
	}
}

// The table does not grow, and whoever comes from many addresses does not make another's debt forgotten while there is one
// that is smaller.
func TestBudgetHasOneSize(t *testing.T) {
	b := newBudget()
	now := time.Unix(1_800_000_000, 0)
	debtor := netip.MustParseAddr("192.0.2.1")
	b.spend(debtor, onTokens, now, 15*time.Second)
	if n := testing.AllocsPerRun(1, func() {
		for n := range 200_000 {
			b.spend(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), onTokens, now, time.Second)
		}
	}); n > 1 {
		t.Errorf("%v allocations", n)
	}
	if b.owes(debtor, onTokens, now) != 5*time.Second {
		t.Error("a debt was forgotten")
	}
	if size := unsafe.Sizeof(*b); size > 256<<10 {
		t.Errorf("%d bytes", size)
	}
}

// flood sends forged tokens of one key from one address, and tells how many were judged.
func flood(t testing.TB, a *Authority, good string, n int, by *asker) (judged int) {
	trusted := []*issuer{a.issuers["main"]}
	forged := []byte(good)
	tail := forged[len(forged)-20:]
	for i := range n {
		copy(tail, fmt.Sprintf("%018dAA", i))
		switch v := a.verify(trusted, forged, by); v.reason {
		case BadSignature:
			judged++
		case TooManyFailures:
			if v.after <= 0 || v.after > budgetWindow+time.Second {
				t.Fatalf("come again after %s", v.after)
			}
		default:
			t.Fatal(v.reason)
		}
	}
	return judged
}

func budgeted(t testing.TB, share float64, cfg IssuerConfig) *Authority {
	a, err := NewAuthority(map[string]IssuerConfig{"main": cfg}, nil, Deps{FailedShare: share})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// A dearer key affords fewer forgeries; what was seen goes on, other addresses go on, and time pays it back.
func TestForgedTokensSpendTheBudget(t *testing.T) {
	keys := testKeys()
	for _, row := range []struct {
		alg      string
		issuer   IssuerConfig
		key      any
		from, to int
	}{
		{"RS256", fileIssuer([]string{"RS256"}, publicPEM(t, keys.rsa)), keys.rsa, 286, 287},
		{"ES384", fileIssuer([]string{"ES384"}, publicPEM(t, keys.p384)), keys.p384, 15, 16},
		{"HS256", secretIssuer(), []byte(testSecret), 2000, 2001},
	} {
		a := budgeted(t, 0.001, row.issuer)
		trusted, me := []*issuer{a.issuers["main"]}, &asker{now: time.Now(), from: netip.MustParseAddr("192.0.2.1")}
		token := func(n int) []byte { return []byte(mint(row.alg, row.key, object{"alg": row.alg}, good("n", n))) }
		first := token(0)
		for n := range 20 { // good ones cost nothing
			if v := a.verify(trusted, token(n), me); v.reason != accepted {
				t.Fatalf("%s: %v", row.alg, v.reason)
			}
		}
		a.verify(trusted, first, me)
		if judged := flood(t, a, string(token(50)), 3*row.to, me); judged < row.from || judged > row.to {
			t.Errorf("%s: %d forged tokens were judged", row.alg, judged)
		}
		for name, want := range map[string]struct {
			tok []byte
			by  asker
			v   verified
		}{
			"seen before": {first, *me, verified{reason: accepted, cached: true}},
			"new":         {token(60), *me, verified{reason: TooManyFailures}},
			"elsewhere":   {token(61), asker{now: me.now, from: netip.MustParseAddr("192.0.2.2")}, verified{reason: accepted}},
			"later":       {token(62), asker{now: me.now.Add(3 * time.Second), from: me.from}, verified{reason: accepted}},
		} {
			if v := a.verify(trusted, want.tok, &want.by); v.reason != want.v.reason || v.cached != want.v.cached {
				t.Errorf("%s, %s: %v, cached %v", row.alg, name, v.reason, v.cached)
			}
		}
		next, err := NewAuthority(map[string]IssuerConfig{"main": row.issuer}, a, Deps{FailedShare: 0.001})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(next.Close)
		if v := next.verify([]*issuer{next.issuers["main"]}, token(63), me); v.reason != TooManyFailures {
			t.Errorf("%s: a reload forgives: %v", row.alg, v.reason)
		}
	}
}

// The client is told when to come again, and nothing that makes it throw its token away.
func TestWhatAnOverspentAddressIsTold(t *testing.T) {
	a := budgeted(t, 0.0001, secretIssuer())
	r := newRoute(t, a, Config{Issuers: []string{"main"}}, ForwardConfig{})
	by := &asker{now: time.Now(), from: netip.MustParseAddr("192.0.2.1")} // of pipeline.NewMemory
	a.charge(by, time.Second)                                             // a debt that outlasts any pause of this machine
	m, err := r.ask("Bearer " + hs("n", 1))
	if err != TooManyFailures || !errors.Is(err, pipeline.RateLimited) || m.Problem.RetryAfter < 1 || m.Problem.RetryAfter > 10 || m.Problem.Policy != "failed-tokens" {
		t.Errorf("%v, %+v", err, m.Problem)
	}
	if m.Sent.Header("WWW-Authenticate") != nil {
		t.Error("a challenge")
	}
	if _, err := r.ask(""); err != NoCredential {
		t.Errorf("without a token: %v", err)
	}
	ask := r.bareExchange("Bearer " + hs("n", 2))
	if n := testing.AllocsPerRun(100, func() { _ = ask() }); n != 0 && !raceEnabled { // another address: judged, then cached
		t.Errorf("%v allocations", n)
	}
}

// The processor time of a flood from one address, against the same flood without a budget.
func TestAFloodTakesItsShareOnly(t *testing.T) {
	cfg := fileIssuer([]string{"ES384"}, publicPEM(t, testKeys().p384))
	tok := mint("ES384", testKeys().p384, object{"alg": "ES384"}, good())
	const tokens = 800
	by := func() *asker { return &asker{now: time.Now(), from: netip.MustParseAddr("192.0.2.1")} }
	without := budgeted(t, 0, cfg)
	before := cpu(t)
	flood(t, without, tok, tokens, by())
	free := cpu(t) - before
	within := budgeted(t, 0.01/3, cfg)
	before = cpu(t)
	judged := flood(t, within, tok, tokens, by())
	bound := cpu(t) - before
	t.Logf("%d forged tokens: %s without a budget, %s (%d judged) with it: ratio %.3f", tokens, free, bound, judged, float64(bound)/float64(free))
	if ratio := float64(bound) / float64(free); ratio > 0.3 {
		t.Errorf("ratio %.2f", ratio)
	}
}

func cpu(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
