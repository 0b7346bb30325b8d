package record

import (
	"testing"
	"time"
)

var (
	t0    = time.Unix(1_700_000_000, 0)
	mine  = Token{1}
	other = Token{2}
	fp    = Fingerprint{1}
	fp2   = Fingerprint{2}
)

const (
	lease      = 30 * time.Second
	keepAnswer = time.Hour
	keepKey    = 3 * time.Hour
)

func claim(token Token, print Fingerprint, grant bool) Claim {
	return Claim{Fingerprint: print, Token: token, Lease: lease, KeepKey: keepKey, Grant: grant}
}

func result(s State) Result {
	r := Result{State: s, Fingerprint: fp, Status: 201, RequestID: "id", Location: "/o/1", KeepAnswer: keepAnswer, KeepKey: keepKey}
	if s == Completed {
		r.Answer = []byte("answer")
	}
	return r
}

// in makes a record of mine in a state at t0.
func in(s State) Record {
	if s == Absent {
		return Record{}
	}
	r, _ := Record{}.Begin(claim(mine, fp, true), t0)
	if s != InFlight {
		r, _ = r.Finish(mine, result(s), t0)
	}
	return r
}

func TestBeginTable(t *testing.T) {
	for _, c := range []struct {
		state   State
		token   Token
		print   Fingerprint
		grant   bool
		after   time.Duration
		verdict Verdict
		next    State
	}{
		{Absent, mine, fp, true, 0, Acquired, InFlight},
		{Absent, mine, fp, false, 0, Miss, Absent},
		{InFlight, mine, fp, true, 0, Acquired, InFlight}, // a resend
		{InFlight, mine, fp, false, 0, Busy, InFlight},
		{InFlight, other, fp, true, lease - 1, Busy, InFlight},
		{InFlight, other, fp, true, lease, Undetermined, Unknown},
		{InFlight, mine, fp, true, lease, Undetermined, Unknown},
		{InFlight, other, fp2, true, 0, Mismatch, InFlight},
		{InFlight, other, fp2, true, lease, Mismatch, Unknown},
		{InFlight, other, fp, true, lease + keepKey - 1, Undetermined, Unknown},
		{InFlight, other, fp, true, lease + keepKey, Acquired, InFlight},
		{Completed, other, fp, true, 0, Replay, Completed},
		{Completed, other, fp, false, keepAnswer - 1, Replay, Completed},
		{Completed, other, fp, true, keepAnswer, NotKept, Sealed},
		{Completed, other, fp2, true, 0, Mismatch, Completed},
		{Completed, other, fp2, true, keepAnswer, Mismatch, Sealed},
		{Completed, other, fp, true, keepKey, Acquired, InFlight},
		{Completed, other, fp2, true, keepKey, Acquired, InFlight},
		{Sealed, other, fp, true, 0, NotKept, Sealed},
		{Sealed, other, fp2, true, 0, Mismatch, Sealed},
		{Sealed, other, fp, true, keepKey, Acquired, InFlight},
		{Unknown, other, fp, true, 0, Undetermined, Unknown},
		{Unknown, mine, fp, true, 0, Undetermined, Unknown},
		{Unknown, other, fp2, true, 0, Mismatch, Unknown},
		{Unknown, other, fp, true, keepKey, Acquired, InFlight},
	} {
		r, found := in(c.state).Begin(claim(c.token, c.print, c.grant), t0.Add(c.after))
		if found.Verdict != c.verdict || r.State != c.next {
			t.Errorf("%s after %s, token %d, print %d, grant %v: %s, %s; want %s, %s",
				c.state, c.after, c.token[0], c.print[0], c.grant, found.Verdict, r.State, c.verdict, c.next)
		}
	}
}

func TestBeginTellsWhatThereIs(t *testing.T) {
	_, f := in(Completed).Begin(claim(other, fp, true), t0)
	if f.Status != 201 || f.RequestID != "id" || string(f.Answer) != "answer" || f.Left != time.Duration(in(Completed).KeyUntil-t0.UnixNano()) {
		t.Errorf("completed: %+v", f)
	}
	_, f = in(Completed).Begin(claim(other, fp, true), t0.Add(keepAnswer))
	if f.Status != 201 || f.Location != "/o/1" || f.Answer != nil {
		t.Errorf("answer over: %+v", f)
	}
	_, f = in(InFlight).Begin(claim(other, fp, true), t0.Add(10*time.Second))
	if f.Left != 20*time.Second {
		t.Errorf("busy: %s left", f.Left)
	}
	_, f = in(Completed).Begin(claim(other, fp2, true), t0)
	if f.Status != 0 || f.Answer != nil || f.Location != "" || f.RequestID != "" || f.Left != 0 {
		t.Errorf("a mismatch tells of another request: %+v", f)
	}
}

func TestFinishTable(t *testing.T) {
	for _, c := range []struct {
		state   State
		token   Token
		with    State
		after   time.Duration
		outcome Outcome
		next    State
	}{
		{InFlight, mine, Completed, 0, Stored, Completed},
		{InFlight, mine, Sealed, 0, Stored, Sealed},
		{InFlight, mine, Unknown, 0, Stored, Unknown},
		{InFlight, mine, Completed, lease, Stored, Completed}, // late truth
		{InFlight, other, Completed, 0, Fenced, InFlight},
		{InFlight, other, Completed, lease, Fenced, Unknown},
		{Unknown, mine, Completed, 0, Stored, Completed},
		{Unknown, mine, Sealed, 0, Stored, Sealed},
		{Unknown, other, Completed, 0, Fenced, Unknown},
		{Completed, mine, Completed, 0, Stored, Completed},
		{Completed, mine, Unknown, 0, Stored, Completed},
		{Completed, other, Sealed, 0, Fenced, Completed},
		{Sealed, mine, Completed, 0, Stored, Sealed},
		{Sealed, other, Completed, 0, Fenced, Sealed},
		{Absent, mine, Completed, 0, Recreated, Completed},
		{Absent, mine, Sealed, 0, Recreated, Sealed},
		{Absent, mine, Unknown, 0, Recreated, Unknown},
		{InFlight, mine, Completed, lease + keepKey, Recreated, Completed},
	} {
		r, outcome := in(c.state).Finish(c.token, result(c.with), t0.Add(c.after))
		if outcome != c.outcome || r.State != c.next {
			t.Errorf("%s after %s, token %d, with %s: %s, %s; want %s, %s", c.state, c.after, c.token[0], c.with, outcome, r.State, c.outcome, c.next)
		}
	}
}

func TestFinishKeepsAsLongAsSaid(t *testing.T) {
	r, _ := in(InFlight).Finish(mine, result(Completed), t0.Add(time.Second))
	if r.AnswerUntil != t0.Add(time.Second+keepAnswer).UnixNano() || r.KeyUntil != t0.Add(time.Second+keepKey).UnixNano() {
		t.Errorf("kept until %d and %d", r.AnswerUntil, r.KeyUntil)
	}
	unknown, _ := in(Unknown).Finish(mine, result(Unknown), t0.Add(time.Hour))
	if unknown.KeyUntil != in(Unknown).KeyUntil {
		t.Error("repeating unknown must not prolong it")
	}
}

func TestReleaseFreesOnlyOnesOwnRunningClaim(t *testing.T) {
	for _, c := range []struct {
		state State
		token Token
		after time.Duration
		freed bool
	}{
		{InFlight, mine, 0, true}, {InFlight, other, 0, false}, {InFlight, mine, lease, false},
		{Completed, mine, 0, false}, {Sealed, mine, 0, false}, {Unknown, mine, 0, false}, {Absent, mine, 0, false},
	} {
		r, freed := in(c.state).Release(c.token, t0.Add(c.after))
		if freed != c.freed || freed != (c.state != Absent && r.State == Absent) {
			t.Errorf("%s, token %d after %s: freed %v, now %s", c.state, c.token[0], c.after, freed, r.State)
		}
	}
}

func TestOrphanAndDue(t *testing.T) {
	if r := in(InFlight).Orphan(); r.State != Unknown || r.Token != mine {
		t.Errorf("orphan: %+v", r)
	}
	if r := in(Completed).Orphan(); r.State != Completed {
		t.Error("a settled record is no orphan")
	}
	if in(Completed).Due() != t0.Add(keepAnswer).UnixNano() || in(Sealed).Due() != t0.Add(keepKey).UnixNano() ||
		in(InFlight).Due() != t0.Add(lease+keepKey).UnixNano() {
		t.Error("due at the wrong instant")
	}
}

func TestWords(t *testing.T) {
	if InFlight.String() != "in_flight" || State(99).String() != "invalid" || Replay.String() != "replay" || Fenced.String() != "fenced" {
		t.Error("words")
	}
}
