package record

import "math/bits"

// What the model check asserts: single effect (I1), one truth for all (I2), truthful words (I4), no answer for another request
// (I8), and by the table: legal transitions only, fences that change nothing, claims that are not forgotten.

type kind uint8

const (
	beginning kind = iota
	finishing
	releasing
	renewing
	resolving
	erasing
	passing
)

// event is what changed a record.
type event struct {
	kind     kind
	token    Token
	executed bool // resolving
}

// judge names the transition and counts it; whatever has no name is a fault. n is the world afterwards.
func (c *course) judge(n world, before, after Record, e event) {
	number := c.transition(before, after, e)
	switch {
	case number == "" && before.State != after.State, number == "" && pack(before) != pack(after) && e.kind != passing:
		c.fail("no transition of the table: %+v -> %+v", pack(before), pack(after))
		return
	case number != "":
		c.met[number]++
	}
	if number == "T10" && n.dispatched[n.era] != 0 {
		c.fail("I4: freed by a verdict, although %s executed", members(n.dispatched[n.era]))
	}
	if after.State == InFlight && after.KeyUntil-after.Lease < modelKey {
		c.fail("when the lease ends the key is kept for %d only", after.KeyUntil-after.Lease)
	}
	if finished(before) && finished(after) && (before.Status != after.Status || len(after.Answer) != 0 && after.Answer[0] != before.Answer[0]) {
		c.fail("I2: the stored truth changed: %+v -> %+v", pack(before), pack(after))
	}
	if before.State == Absent || after.State == Absent {
		return
	}
	if before.Fingerprint != after.Fingerprint {
		c.fail("I8: the key changed its request: %+v -> %+v", pack(before), pack(after))
	}
	if number != "T11" && (before.Token != after.Token || before.Epoch != after.Epoch) {
		c.fail("%s changed the fence: %+v -> %+v", number, pack(before), pack(after))
	}
}

func finished(r Record) bool { return r.State == Completed || r.State == Sealed }

// transition gives the number in the table, or "".
func (c *course) transition(before, after Record, e event) string {
	from, to, own := before.State, after.State, before.Token == e.token
	switch e.kind {
	case beginning:
		switch {
		case from == Absent && to == InFlight && after.Epoch == 1:
			return "T1"
		case from == Unknown && to == InFlight && c.reclaim && after.Epoch == before.Epoch+1 && after.Token == e.token:
			return "T11"
		}
	case renewing:
		switch {
		case from == InFlight && to == InFlight && own && after.Lease > before.Lease:
			return "T2"
		case from == Unknown && to == InFlight && own && before.Lease != 0:
			return "T12"
		}
	case finishing:
		return finishTransition(from, to, own)
	case releasing:
		if from == InFlight && to == Absent && own && before.Epoch == 1 {
			return "T5"
		}
	case resolving:
		switch {
		case from == Unknown && to == Sealed && own && e.executed && after.KeyUntil >= before.KeyUntil:
			return "T9"
		case from == Unknown && to == Absent && own && !e.executed:
			return "T10"
		}
	case erasing:
		if (from == to || from == Completed && to == Sealed) && len(after.Answer) == 0 && after.RequestID == "" && from != InFlight {
			return "erase"
		}
	case passing:
		return timeTransition(before, after)
	}
	return ""
}

func finishTransition(from, to State, own bool) string {
	switch {
	case from == Absent && to != Absent && to != InFlight:
		return "T15"
	case !own:
		return ""
	case from == InFlight && to == Completed:
		return "T3"
	case from == InFlight && to == Sealed:
		return "T4"
	case from == InFlight && to == Unknown:
		return "T6"
	case from == Unknown && (to == Completed || to == Sealed):
		return "T8"
	}
	return ""
}

// timeTransition: what is in flight never vanishes, it becomes unknown first.
func timeTransition(before, after Record) string {
	switch {
	case before.State == InFlight && after.State == Unknown:
		return "T7"
	case before.State == Completed && after.State == Sealed && after.Answer == nil:
		return "T13"
	case before.State > InFlight && after.State == Absent:
		return "T14"
	}
	return ""
}

// judgeDispatch is I1: one dispatch in a retention; where the upstream deduplicates there may be more, all for one request.
func (c *course) judgeDispatch(n world, i, era int) {
	for j := range c.parties {
		if n.dispatched[era]&(1<<j) == 0 || i == j {
			continue
		}
		if !c.reclaim {
			c.fail("I1: executed by %s in one retention", members(n.dispatched[era]))
		} else if c.parties[i].print != c.parties[j].print {
			c.fail("I1: two requests were executed with one key: by %s", members(n.dispatched[era]))
		}
	}
}

func members(set uint8) (s string) {
	for ; set != 0; set &= set - 1 {
		s += " " + string(rune('1'+bits.TrailingZeros8(set)))
	}
	return s[1:]
}

// judgeFound checks what Begin says against what is there, and that only a claim changes anything.
func (c *course) judgeFound(w world, before, after Record, claim Claim, found Found) {
	var want Verdict
	switch {
	case before.State == Absent && !claim.Grant:
		want = Miss
	case before.State == Absent:
		want = Acquired
	case before.Fingerprint != claim.Fingerprint:
		want = Mismatch
	case before.State == InFlight && claim.Grant && before.Token == claim.Token, before.State == Unknown && claim.Grant && c.reclaim:
		want = Acquired
	default:
		want = [...]Verdict{InFlight: Busy, Completed: Replay, Sealed: NotKept, Unknown: Undetermined}[before.State]
	}
	if found.Verdict != want {
		c.fail("%s, where %s is right: %+v", found.Verdict, want, pack(before))
	}
	if found.Verdict == Acquired {
		if after.State != InFlight || after.Token != claim.Token || found.Epoch != after.Epoch {
			c.fail("granted, and the record is %+v", pack(after))
		}
		return
	}
	if pack(before) != pack(after) {
		c.fail("%s changed the record: %+v -> %+v", found.Verdict, pack(before), pack(after))
	}
	if found.Verdict == Replay || found.Verdict == NotKept {
		c.judgeTold(w, claim, found)
	}
}

// judgeTold is I4, "executed: yes": the one whose answer is told has dispatched, or somebody vouched for it. It was the same
// request, too.
func (c *course) judgeTold(w world, claim Claim, found Found) {
	if found.Status == int(byReconciler) && found.Answer == nil {
		return
	}
	all := w.dispatched[0] | w.dispatched[1] | w.dispatched[2]
	if found.Status < 1 || all&(1<<(found.Status-1)) == 0 {
		c.fail("I4: told that %d was executed, which was not", found.Status)
		return
	}
	if found.Verdict == Replay && (len(found.Answer) != 1 || int(found.Answer[0]) != found.Status) {
		c.fail("I2: the answer %v to %d", found.Answer, found.Status)
	}
	if found.Status <= len(c.parties) && c.parties[found.Status-1].print != claim.Fingerprint[0] {
		c.fail("I8: another request is told the answer to %d", found.Status)
	}
}

func (c *course) judgeFinish(before, after Record, token Token, outcome Outcome) {
	foreign := before.State != Absent && before.Token != token
	if (outcome == Fenced) != foreign || (outcome == Recreated) != (before.State == Absent) {
		c.fail("%s on %+v", outcome, pack(before))
	}
	if outcome == Fenced && pack(before) != pack(after) {
		c.fail("a fenced finish changed %+v to %+v", pack(before), pack(after))
	}
}

// judgeRelease is I4, "executed: no" and "a new key is safe": nothing at all was dispatched in this retention.
func (c *course) judgeRelease(w world, before, after Record, token Token, freed bool) {
	if freed != (before.State != Absent && after.State == Absent) || freed && before.Token != token {
		c.fail("freed %v: %+v -> %+v", freed, pack(before), pack(after))
	}
	if freed && w.dispatched[w.era] != 0 {
		c.fail("I4: freed as not executed, which %s was", members(w.dispatched[w.era]))
	}
}

// look asks without claiming, for both requests, in every world.
func (c *course) look(w world) {
	before := w.rec.record().At(modelNow)
	for i := range c.parties {
		if i > 1 {
			break
		}
		claim := c.claim(i, false)
		after, found := c.rules.begin(w.rec.record(), claim, modelNow)
		c.judgeFound(w, before, after, claim, found)
	}
}
