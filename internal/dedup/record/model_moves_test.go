package record

import (
	"fmt"
	"math/bits"
)

// moves walks to every world that one event leads to. A delivery that changes nothing is judged and not walked: whatever can
// happen afterwards can happen without it, too.
func (c *course) moves(w world) {
	for i := range c.parties {
		c.own(w, i)
		c.deliver(w, i)
	}
	c.time(w)
	c.outside(w)
	if !c.crash {
		return
	}
	for g := uint8(0); g < 2; g++ {
		c.crashes(w, g)
	}
}

// own are the moves of a party that reaches no store.
func (c *course) own(w world, i int) {
	p := &w.parties[i]
	was := *p
	step := func(what string, change func()) {
		before := w
		change()
		c.visit(w, fmt.Sprintf("%d %s", i+1, what))
		w = before
	}
	switch was.phase {
	case idle:
		if i == 0 || c.parties[i] != c.parties[i-1] || w.parties[i-1].phase != idle { // equal ones start in turn
			step("sends begin", func() { p.phase, p.begins = waiting, 2 })
		}
	case waiting:
		c.reply(w, i)
		step("gives up and sends release", func() { p.phase, p.releases, p.grants = over, 2, c.late(was.grants) })
	case over:
		if was.grants != 0 {
			c.reply(w, i)
		}
	case running:
		if !was.renewed {
			step("sends renew", func() { p.renewed, p.renewals = true, 2 })
		}
		for end := Completed; end <= Unknown; end++ {
			step("sends finish "+end.String(), func() { p.phase, p.finishes, p.end = over, 2, end })
		}
	}
}

// late: a party that gave up reads no more replies, unless that is the defect.
func (c *course) late(grants uint8) uint8 {
	if c.rules.lateReply {
		return grants
	}
	return 0
}

// reply delivers the reply to a Begin that was granted. The party dispatches, or can prove that it did not.
func (c *course) reply(w world, i int) {
	for grants := w.parties[i].grants; grants != 0; grants &= grants - 1 {
		era := bits.TrailingZeros8(grants)
		n := w
		n.parties[i].phase, n.parties[i].grants = running, 0
		n.dispatched[era] |= 1 << i
		c.now = fmt.Sprintf("%d gets its grant of era %d and dispatches", i+1, era)
		c.judgeDispatch(n, i, era)
		c.visit(n, c.now)
	}
	if w.parties[i].grants != 0 && w.parties[i].phase == waiting {
		w.parties[i].phase, w.parties[i].grants, w.parties[i].releases = over, 0, 2
		c.visit(w, fmt.Sprintf("%d gets its grant, can't send, and sends release", i+1))
	}
}

// deliver are the arrivals of a party's messages at the store.
func (c *course) deliver(w world, i int) {
	p := w.parties[i]
	if p.begins > 0 {
		c.deliverBegin(w, i)
	}
	before, token := w.rec.record().At(modelNow), Token{byte(i + 1)}
	if p.finishes > 0 {
		n := w
		n.parties[i].finishes--
		c.now = fmt.Sprintf("the finish %s of %d arrives", p.end, i+1)
		after, outcome := c.rules.finish(w.rec.record(), token, c.result(i, p.end), modelNow)
		c.judgeFinish(before, after, token, outcome)
		c.change(n, before, after, event{kind: finishing, token: token})
	}
	if p.releases > 0 {
		n := w
		n.parties[i].releases--
		c.now = fmt.Sprintf("the release of %d arrives", i+1)
		after, freed := c.rules.release(w.rec.record(), token, modelNow)
		c.judgeRelease(w, before, after, token, freed)
		c.change(n, before, after, event{kind: releasing, token: token})
	}
	if p.renewals > 0 {
		n := w
		n.parties[i].renewals--
		c.now = fmt.Sprintf("the renewal of %d arrives", i+1)
		after, renewed := c.rules.renew(w.rec.record(), token, modelLease, modelNow)
		if renewed != (pack(after).state == InFlight && before.Token == token) {
			c.fail("renewed: %v", renewed)
		}
		c.change(n, before, after, event{kind: renewing, token: token})
	}
}

func (c *course) claim(i int, grant bool) Claim {
	return Claim{
		Fingerprint: Fingerprint{c.parties[i].print}, Token: Token{byte(i + 1)}, Lease: modelLease, KeepKey: modelKey, Grant: grant, Reclaim: c.reclaim,
	}
}

func (c *course) result(i int, end State) Result {
	r := Result{
		State: end, Fingerprint: Fingerprint{c.parties[i].print}, Status: i + 1, RequestID: "id", KeepAnswer: modelAnswer, KeepKey: modelKey,
	}
	if end == Completed {
		r.Answer = modelAnswers[i+1]
	}
	if end == Unknown {
		r.Status = 0
	}
	return r
}

func (c *course) deliverBegin(w world, i int) {
	before, claim := w.rec.record().At(modelNow), c.claim(i, true)
	after, found := c.rules.begin(w.rec.record(), claim, modelNow)
	n, p := w, w.parties[i]
	n.parties[i].begins--
	c.now = fmt.Sprintf("a begin of %d arrives: %s", i+1, found.Verdict)
	c.judgeFound(w, before, after, claim, found)
	if found.Verdict == Acquired && (p.phase == waiting || c.rules.lateReply && p.phase == over) {
		n.parties[i].grants |= 1 << w.era
	}
	if n.parties[i].grants != p.grants && pack(after) == pack(before) {
		n.rec = pack(after)
		c.visit(n, c.now)
	}
	c.change(n, before, after, event{kind: beginning, token: claim.Token})
}

// change judges a step of the record and walks on if there was one.
func (c *course) change(n world, before, after Record, e event) {
	n.rec = pack(after)
	if pack(before) == n.rec {
		return
	}
	c.judge(n, before, after, e)
	c.visit(n, c.now)
}

// time jumps to the next end there is, or passes a little.
func (c *course) time(w world) {
	r := w.rec.record().At(modelNow)
	pass := func(what string, d int16) {
		n, before := w, r
		n.rec = w.rec.passed(d)
		c.now = what
		after := n.rec.record().At(modelNow)
		c.judge(n, before, after, event{kind: passing})
		if after.State == Absent && before.State != InFlight { // the time of what is in flight does not end
			n.era++
		}
		n.rec = pack(after)
		c.visit(n, what)
	}
	p := pack(r)
	switch {
	case p.state == InFlight:
		pass("the lease ends", p.lease)
	case p.state == Completed:
		pass("the answer's time ends", p.answerUntil)
	}
	if p.state > InFlight && w.era < c.eras {
		pass("the key's time ends", p.keyEnd)
	}
	if w.ticks > 0 && p.state == InFlight && p.lease > modelTick {
		n := w
		n.ticks--
		n.rec = p.passed(modelTick)
		c.visit(n, "a little time passes")
	}
}

// outside are the reconciler, the operator and the one who erases.
func (c *course) outside(w world) {
	r := w.rec.record().At(modelNow)
	if r.State == Unknown && w.looks > 0 {
		n := w
		n.looks--
		n.verdict = verdict{holder: r.Token[0], epoch: uint8(r.Epoch), executed: true, left: 2}
		c.visit(n, fmt.Sprintf("somebody finds out that %d was executed", r.Token[0]))
		if n.verdict.executed = false; c.denials && quiet(w) {
			c.visit(n, fmt.Sprintf("somebody finds out that %d was not executed", r.Token[0]))
		}
	}
	if w.verdict.left > 0 {
		n := w
		n.verdict.left--
		token := Token{w.verdict.holder}
		c.now = fmt.Sprintf("the verdict on %d arrives", w.verdict.holder)
		v := Resolution{Executed: w.verdict.executed, Epoch: uint32(w.verdict.epoch), Status: int(byReconciler), KeepKey: modelKey / 2}
		after, resolved := c.rules.resolve(w.rec.record(), token, v, modelNow)
		if resolved != (pack(r) != pack(after)) {
			c.fail("resolved: %v, although %+v became %+v", resolved, pack(r), pack(after))
		}
		c.change(n, r, after, event{kind: resolving, token: token, executed: w.verdict.executed})
	}
	if c.erase && !w.erased && r.State != Absent {
		n := w
		n.erased = true
		c.now = "the client is erased"
		c.change(n, r, r.Erase(), event{kind: erasing})
	}
}

// quiet: nothing was dispatched and nobody who was granted can still dispatch, so a denial is true. A status check knows it by
// waiting for the longest call to end.
func quiet(w world) bool {
	for _, p := range w.parties {
		if p.phase == running || p.grants != 0 {
			return false
		}
	}
	return w.dispatched[w.era] == 0
}

// crashes ends all that a gateway does; what it sent may still arrive.
func (c *course) crashes(w world, gateway uint8) {
	if w.crashed&(1<<gateway) != 0 {
		return
	}
	hit := false
	for i, m := range c.parties {
		if p := &w.parties[i]; m.gateway == gateway && (p.phase == waiting || p.phase == running) {
			p.phase, p.grants, hit = over, c.late(p.grants), true
		}
	}
	if hit {
		w.crashed |= 1 << gateway
		c.visit(w, fmt.Sprintf("gateway %d crashes", gateway+1))
	}
}
