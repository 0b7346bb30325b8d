package record

import (
	"reflect"
	"testing"
	"time"
)

// The model check walks every sequence of calls, up to a depth, of two attempts with one key: two tokens, two requests, a
// crash of the process, and jumps of time over the ends of lease, answer and key. Every step is judged against the table of
// legal transitions and the promises.

type world struct {
	encoded string // the record
	now     time.Duration
	granted [2]bool // the attempt holds a claim, as far as it knows
	running int     // grants that were not given back, within the retention that runs
	truth   bool    // a final answer is stored, within the retention that runs
}

func (w world) record() Record {
	if w.encoded == "" {
		return Record{}
	}
	r, err := Decode([]byte(w.encoded))
	if err != nil {
		panic(err)
	}
	return r
}

func (w world) with(r Record) world {
	w.encoded = ""
	if r.State != Absent {
		w.encoded = string(r.Append(nil))
	} else {
		w.running, w.truth = 0, false
	}
	return w
}

func (w world) at() time.Time { return t0.Add(w.now) }

// legal are the transitions T1, T3-T8, T13-T15 by the move that makes them; staying is always legal.
var legal = map[string]map[[2]State]bool{
	"begin":   {{Absent, InFlight}: true},
	"finish":  {{InFlight, Completed}: true, {InFlight, Sealed}: true, {InFlight, Unknown}: true, {Unknown, Completed}: true, {Unknown, Sealed}: true, {Absent, Completed}: true, {Absent, Sealed}: true, {Absent, Unknown}: true},
	"release": {{InFlight, Absent}: true},
	"crash":   {{InFlight, Unknown}: true},
	"time":    {{InFlight, Unknown}: true, {InFlight, Absent}: true, {Completed, Sealed}: true, {Completed, Absent}: true, {Sealed, Absent}: true, {Unknown, Absent}: true},
}

func TestModel(t *testing.T) {
	seen, frontier := map[world]bool{{}: true}, []world{{}}
	for depth := 0; depth < 6; depth++ {
		var next []world
		for _, w := range frontier {
			for _, n := range moves(t, w) {
				if !seen[n] {
					seen[n] = true
					next = append(next, n)
				}
			}
		}
		frontier = next
	}
	if len(seen) < 1000 {
		t.Fatalf("only %d worlds: the moves are broken", len(seen))
	}
	t.Logf("%d worlds", len(seen))
}

func moves(t *testing.T, w world) []world {
	var all []world
	for i, token := range [2]Token{mine, other} {
		for _, print := range [2]Fingerprint{fp, fp2} {
			all = append(all, begin(t, w, i, claim(token, print, true)), begin(t, w, i, claim(token, print, false)))
		}
		if w.granted[i] {
			for s := Completed; s <= Unknown; s++ {
				all = append(all, finish(t, w, token, s))
			}
			all = append(all, release(t, w, i, token))
		}
	}
	all = append(all, crash(t, w))
	for _, jump := range []time.Duration{time.Second, lease, keepAnswer, keepKey} {
		all = append(all, pass(t, w, jump))
	}
	return all
}

func begin(t *testing.T, w world, i int, c Claim) world {
	before := w.record().At(w.at())
	r, found := w.record().Begin(c, w.at())
	judge(t, "begin", before, r)
	n := w.with(r)
	switch found.Verdict {
	case Acquired:
		if !c.Grant {
			t.Fatalf("%+v: granted without being asked", w)
		}
		if before.State == Absent {
			n.running, n.truth = 1, false
			n.granted[i] = true
		} else if before.Token != c.Token || !w.granted[i] {
			t.Fatalf("%+v: granted twice", w)
		}
	case Mismatch, Busy, Replay, NotKept, Undetermined, Miss:
		if !reflect.DeepEqual(before, r) {
			t.Fatalf("%+v: %s changed the record", w, found.Verdict)
		}
		if found.Verdict != Mismatch && found.Verdict != Miss && r.Fingerprint != c.Fingerprint {
			t.Fatalf("%+v: another request was told %s", w, found.Verdict)
		}
		if w.truth && (found.Verdict == Busy || found.Verdict == Undetermined) {
			t.Fatalf("%+v: a stored answer was forgotten: %s", w, found.Verdict)
		}
	}
	if n.running > 1 {
		t.Fatalf("%+v: %d executions", n, n.running)
	}
	return n
}

func finish(t *testing.T, w world, token Token, s State) world {
	before := w.record().At(w.at())
	r, outcome := w.record().Finish(token, result(s), w.at())
	judge(t, "finish", before, r)
	if (outcome == Fenced) != (before.State != Absent && before.Token != token) {
		t.Fatalf("%+v: %s", w, outcome)
	}
	if outcome == Fenced && !reflect.DeepEqual(before, r) {
		t.Fatalf("%+v: a fenced finish changed the record", w)
	}
	if (outcome == Recreated) != (before.State == Absent) {
		t.Fatalf("%+v: %s", w, outcome)
	}
	n := w.with(r)
	n.truth = r.State == Completed || r.State == Sealed
	return n
}

func release(t *testing.T, w world, i int, token Token) world {
	before := w.record().At(w.at())
	r, freed := w.record().Release(token, w.at())
	judge(t, "release", before, r)
	if freed && before.Token != token {
		t.Fatalf("%+v: a foreign claim was freed", w)
	}
	n := w.with(r)
	n.granted[i] = false
	return n
}

func crash(t *testing.T, w world) world {
	before := w.record().At(w.at())
	r := before.Orphan()
	judge(t, "crash", before, r)
	n := w.with(r)
	n.granted = [2]bool{}
	return n
}

func pass(t *testing.T, w world, d time.Duration) world {
	before := w.record().At(w.at())
	w.now += d
	after := before.At(w.at())
	judge(t, "time", before, after)
	if before.State != Absent && after.State == Absent && w.at().UnixNano() < before.KeyUntil {
		t.Fatalf("%+v: forgotten too early", w)
	}
	return w.with(after)
}

func judge(t *testing.T, move string, before, after Record) {
	t.Helper()
	if before.State != after.State && !legal[move][[2]State{before.State, after.State}] {
		t.Fatalf("%s: %s -> %s is no transition of the table", move, before.State, after.State)
	}
}
