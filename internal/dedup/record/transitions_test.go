package record

import (
	"reflect"
	"testing"
	"time"
)

// step is one call on a record at an instant; the bool tells whether the call says that it did something.
type step func(r Record, now time.Time) (Record, bool)

func begins(c Claim) step {
	return func(r Record, now time.Time) (Record, bool) {
		r, found := r.Begin(c, now)
		return r, found.Verdict == Acquired
	}
}

func finishes(token Token, s State) step {
	return func(r Record, now time.Time) (Record, bool) {
		r, outcome := r.Finish(token, result(s), now)
		return r, outcome != Fenced
	}
}

func releases(token Token) step {
	return func(r Record, now time.Time) (Record, bool) { return r.Release(token, now) }
}

func renews(token Token, by time.Duration) step {
	return func(r Record, now time.Time) (Record, bool) { return r.Renew(token, by, now) }
}

func resolves(token Token, executed bool) step {
	v := Resolution{Executed: executed, Status: 202, Location: "/o/9", KeepKey: keepKey}
	return func(r Record, now time.Time) (Record, bool) { return r.Resolve(token, v, now) }
}

func passes(r Record, now time.Time) (Record, bool) { return r.At(now), true }

func reclaims(token Token, print Fingerprint) Claim {
	c := claim(token, print, true)
	c.Reclaim = true
	return c
}

// again is a record that mine left unknown and other claimed again at t0.
func again() Record {
	r, _ := in(Unknown).Begin(reclaims(other, fp), t0)
	return r
}

func TestTransitions(t *testing.T) {
	for _, c := range []struct {
		number string
		from   Record
		after  time.Duration
		step   step
		to     State
		token  Token
		epoch  uint32
	}{
		{"T1 a claim", in(Absent), 0, begins(claim(mine, fp, true)), InFlight, mine, 1},
		{"T1 where reclaiming is allowed", in(Absent), 0, begins(reclaims(mine, fp)), InFlight, mine, 1},
		{"T2 renewed in time", in(InFlight), lease - 1, renews(mine, lease), InFlight, mine, 1},
		{"T3", in(InFlight), 0, finishes(mine, Completed), Completed, mine, 1},
		{"T4", in(InFlight), 0, finishes(mine, Sealed), Sealed, mine, 1},
		{"T5", in(InFlight), 0, releases(mine), Absent, Token{}, 0},
		{"T6", in(InFlight), 0, finishes(mine, Unknown), Unknown, mine, 1},
		{"T6 after a second dispatch", again(), 0, finishes(other, Unknown), Unknown, other, 2},
		{"T7 the lease is over", in(InFlight), lease, passes, Unknown, mine, 1},
		{"T7 its process is gone", in(InFlight), 0, func(r Record, _ time.Time) (Record, bool) { return r.Orphan(), true }, Unknown, mine, 1},
		{"T8 late truth after the lease", in(InFlight), lease, finishes(mine, Completed), Completed, mine, 1},
		{"T8 late truth after unknown", in(Unknown), 0, finishes(mine, Sealed), Sealed, mine, 1},
		{"T9", in(Unknown), 0, resolves(mine, true), Sealed, mine, 1},
		{"T9 after the lease", in(InFlight), lease, resolves(mine, true), Sealed, mine, 1},
		{"T10", in(Unknown), 0, resolves(mine, false), Absent, Token{}, 0},
		{"T11", in(Unknown), 0, begins(reclaims(other, fp)), InFlight, other, 2},
		{"T11 after the lease", in(InFlight), lease, begins(reclaims(other, fp)), InFlight, other, 2},
		{"T11 for the third time", again(), lease, begins(reclaims(mine, fp)), InFlight, mine, 3},
		{"T11 by a resend after its own lease", in(InFlight), lease, begins(reclaims(mine, fp)), InFlight, mine, 2},
		{"T12", in(InFlight), lease, renews(mine, lease), InFlight, mine, 1},
		{"T13", in(Completed), keepAnswer, passes, Sealed, mine, 1},
		{"T14 completed", in(Completed), keepKey, passes, Absent, Token{}, 0},
		{"T14 sealed", in(Sealed), keepKey, passes, Absent, Token{}, 0},
		{"T14 unknown", in(Unknown), keepKey, passes, Absent, Token{}, 0},
		{"T14 never heard of again", in(InFlight), lease + keepKey, passes, Absent, Token{}, 0},
		{"T15 completed", in(Absent), 0, finishes(mine, Completed), Completed, mine, 1},
		{"T15 sealed", in(Absent), 0, finishes(mine, Sealed), Sealed, mine, 1},
		{"T15 unknown", in(Absent), 0, finishes(mine, Unknown), Unknown, mine, 1},
	} {
		r, did := c.step(c.from, t0.Add(c.after))
		if !did || r.State != c.to || r.Token != c.token || r.Epoch != c.epoch {
			t.Errorf("%s: %v, %s of %x in epoch %d; want %s of %x in epoch %d", c.number, did, r.State, r.Token[:1], r.Epoch, c.to, c.token[:1], c.epoch)
		}
		if c.to != Absent && r.Fingerprint != fp {
			t.Errorf("%s: the request was forgotten", c.number)
		}
	}
}

// What the table does not list must change nothing, and say so.
func TestNoTransition(t *testing.T) {
	for _, c := range []struct {
		name  string
		from  Record
		after time.Duration
		step  step
	}{
		{"T2 by another", in(InFlight), 0, renews(other, lease)},
		{"T2 of nothing", in(Absent), 0, renews(mine, lease)},
		{"T2 of nothing, without a token", in(Absent), 0, renews(Token{}, lease)},
		{"T2 of a finished one", in(Completed), 0, renews(mine, lease)},
		{"T2 of a sealed one", in(Sealed), 0, renews(mine, lease)},
		{"T2 when the key's time is over", in(InFlight), lease + keepKey, renews(mine, lease)},
		{"T2 by the one before", again(), 0, renews(mine, lease)},
		{"T3 by another", in(InFlight), 0, finishes(other, Completed)},
		{"T3 by the one before", again(), 0, finishes(mine, Completed)},
		{"T5 by another", in(InFlight), 0, releases(other)},
		{"T5 by the one before", again(), 0, releases(mine)},
		{"T5 of a second dispatch: of the first nobody knows", again(), 0, releases(other)},
		{"T5 after the lease", in(InFlight), lease, releases(mine)},
		{"T5 of an unknown one", in(Unknown), 0, releases(mine)},
		{"T5 of a renewed and lapsed one", renewed(), 3 * lease, releases(mine)},
		{"T7 before the lease is over", in(InFlight), lease - 1, begins(reclaims(other, fp))},
		{"T8 by another", in(Unknown), 0, finishes(other, Completed)},
		{"T9 while it runs", in(InFlight), 0, resolves(mine, true)},
		{"T9 with an old token", again(), lease, resolves(mine, true)},
		{"T9 of a finished one", in(Completed), 0, resolves(mine, true)},
		{"T9 of nothing", in(Absent), 0, resolves(Token{}, true)},
		{"T10 while it runs", in(InFlight), 0, resolves(mine, false)},
		{"T10 after a renewal", renewed(), lease, resolves(mine, false)},
		{"T10 with an old token", again(), lease, resolves(mine, false)},
		{"T10 of a sealed one", in(Sealed), 0, resolves(mine, false)},
		{"T10 with an old epoch", ghost(), lease, func(r Record, now time.Time) (Record, bool) { return r.Resolve(mine, Resolution{Epoch: 1}, now) }},
		{"T11 where it is not declared", in(Unknown), 0, begins(claim(other, fp, true))},
		{"T11 of another request", in(Unknown), 0, begins(reclaims(other, fp2))},
		{"T11 of a finished one", in(Completed), 0, begins(reclaims(other, fp))},
		{"T12 by another", in(InFlight), lease, renews(other, lease)},
		{"T12 after it said unknown itself", in(Unknown), 0, renews(mine, lease)},
		{"T12 of an orphan", in(InFlight).Orphan(), 0, renews(mine, lease)},
	} {
		now := t0.Add(c.after)
		r, did := c.step(c.from, now)
		if did || !reflect.DeepEqual(r, c.from.At(now)) {
			t.Errorf("%s: %v, %+v became %+v", c.name, did, c.from, r)
		}
	}
}

// ghost was claimed by mine, again by other, and by a late repetition of the claim of mine, all with the same token as at first.
func ghost() Record {
	r, _ := again().Finish(other, result(Unknown), t0)
	r, _ = r.Begin(reclaims(mine, fp), t0)
	return r
}

// renewed was renewed at t0+lease, after its lease had run out.
func renewed() Record {
	r, _ := in(InFlight).Renew(mine, lease, t0.Add(lease))
	return r
}

func TestReclaimKeepsWhatTheFirstClaimSaid(t *testing.T) {
	first := in(Unknown)
	c := reclaims(other, fp)
	c.Subject, c.Route = Subject{5}, "orders"
	now := t0.Add(time.Minute)
	r, found := first.Begin(c, now)
	if r.Begun != first.Begun || found.Epoch != 2 || r.Subject != c.Subject || r.Route != "orders" {
		t.Errorf("%+v, %+v", r, found)
	}
	if r.Lease != now.Add(lease).UnixNano() || r.KeyUntil != now.Add(lease+keepKey).UnixNano() {
		t.Errorf("held until %d, kept until %d", r.Lease, r.KeyUntil)
	}
	look := c
	look.Grant = false
	if r, found = first.Begin(look, now); found.Verdict != Undetermined || found.Token != mine || !reflect.DeepEqual(r, first) {
		t.Errorf("a look: %+v", found)
	}
}

// The key's time starts when the lease ends, however often that moves: the end of a lease must never be the end of the key.
func TestRenewMovesTheKeysTimeAlong(t *testing.T) {
	r := in(InFlight)
	for i := range 1000 {
		now := t0.Add(time.Duration(i) * lease * 2) // always late
		var ok bool
		if r, ok = r.Renew(mine, lease, now); !ok {
			t.Fatalf("renewal %d: %+v", i, r)
		}
		if r.Lease != now.Add(lease).UnixNano() || r.KeyUntil-r.Lease != int64(keepKey) {
			t.Fatalf("renewal %d: lease %d, key until %d later", i, r.Lease, r.KeyUntil-r.Lease)
		}
	}
	if short, ok := r.Renew(mine, 0, t0); !ok || short.Lease != r.Lease {
		t.Error("a renewal made the lease shorter")
	}
}

func TestResolveTells(t *testing.T) {
	_, before := in(Unknown).Begin(claim(other, fp, true), t0)
	r, ok := in(Unknown).Resolve(before.Token, Resolution{Executed: true, Status: 202, Location: "/o/9", KeepKey: keepKey}, t0.Add(time.Minute))
	if _, f := r.Begin(claim(other, fp, true), t0.Add(time.Minute)); !ok || f.Verdict != NotKept || f.Status != 202 || f.Location != "/o/9" {
		t.Errorf("%+v", f)
	}
	if r.KeyUntil != t0.Add(time.Minute+keepKey).UnixNano() {
		t.Errorf("kept until %d", r.KeyUntil)
	}
	if free, ok := ghost().Resolve(mine, Resolution{Epoch: 3}, t0.Add(lease)); !ok || free.State != Absent {
		t.Errorf("with the epoch that it has: %v, %+v", ok, free)
	}
	r, ok = in(Unknown).Resolve(mine, Resolution{Executed: true}, t0)
	if !ok || r.At(t0).State != Sealed || r.KeyUntil != in(Unknown).KeyUntil {
		t.Errorf("a verdict without a time freed the key: %+v", r)
	}
	late, outcome := r.Finish(mine, result(Completed), t0)
	if outcome != Stored || !reflect.DeepEqual(late, r) {
		t.Errorf("a late finish changed what was resolved: %s, %+v", outcome, late)
	}
}

func TestErase(t *testing.T) {
	for s, want := range map[State]State{Completed: Sealed, Sealed: Sealed, Unknown: Unknown} {
		r := in(s).Erase()
		if r.State != want || r.Answer != nil || r.RequestID != "" || r.Location != "" || r.KeyUntil != in(s).KeyUntil || r.Token != mine {
			t.Errorf("%s: %+v", s, r)
		}
		if again, _ := r.Finish(mine, result(Completed), t0); s != Unknown && !reflect.DeepEqual(again, r) {
			t.Errorf("%s: a repeated finish brought back %+v", s, again)
		}
		if _, found := r.Begin(claim(other, fp, true), t0); found.Verdict == Acquired {
			t.Errorf("%s: an erased key executes", s)
		}
	}
	for _, s := range []State{Absent, InFlight} {
		if r := in(s).Erase(); !reflect.DeepEqual(r, in(s)) {
			t.Errorf("%s: %+v", s, r)
		}
	}
}

func TestErasedCounts(t *testing.T) {
	var e Erased
	for s := InFlight; s < states; s++ {
		e.Count(in(s))
	}
	if e != (Erased{Records: 4, Answers: 1, InFlight: 1}) {
		t.Errorf("%+v", e)
	}
}

func TestOpen(t *testing.T) {
	for s, want := range map[State]bool{Absent: false, InFlight: true, Completed: false, Sealed: false, Unknown: true} {
		if in(s).Open() != want {
			t.Errorf("%s: open %v", s, !want)
		}
	}
}
