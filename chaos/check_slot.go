package chaos

// effects is I1: one effect, and one dispatch that was not given back; where the upstream honours the key, one effect, and
// dispatches under the same forwarded key with rising numbers.
func (c *checker) effects(w *view, r *report) {
	effects, dispatches, last := 0, 0, -1
	for _, e := range w.execs {
		if e.Effect {
			effects++
		}
		if !FreesKey(e.Status) && (e.Effect || !c.run.Rules.Reconciler) { // a reconciler learns that one was without effect
			dispatches++
		}
		if e.Forwarded != w.execs[0].Forwarded {
			r.add("I1", "the upstream saw two keys, %s and %s", w.execs[0].Forwarded, e.Forwarded)
		}
		if c.run.Rules.UpstreamDedup && e.Attempt <= last {
			r.add("I1", "dispatch %d came after dispatch %d", e.Attempt, last)
		}
		last = e.Attempt
	}
	if effects > 1 {
		r.add("I1", "%d executions", effects)
	}
	if dispatches > 1 && !c.run.Rules.UpstreamDedup {
		r.add("I1", "%d dispatches", dispatches)
	}
}

// fidelity is I2: one answer, and it is true.
func (c *checker) fidelity(w *view, r *report) {
	var first *Call
	for _, call := range w.calls {
		m := call.Means()
		if m == Real && c.lines[call.Answer.Exec] == nil && !call.Script.bodyless() {
			r.add("I2", "%s tells of execution %q, which is in no ledger", call.ID, call.Answer.Exec)
		}
		if m != Real {
			continue
		}
		if first == nil {
			first = call
			continue
		}
		a, b := first.Answer, call.Answer
		if a.Status != b.Status || a.Kept != b.Kept || a.Body != b.Body {
			r.add("I2", "%s got %d %s %s, %s got %d %s %s", first.ID, a.Status, a.Exec, a.Kept, call.ID, b.Status, b.Exec, b.Kept)
		}
	}
}

func (s Script) bodyless() bool { return s.Status == 204 }

// order is I3 and I10: what was said is never taken back, and a record goes only where the table of transitions lets it.
func (c *checker) order(w *view, r *report) {
	for _, a := range w.calls {
		from := a.Means()
		if from != Real && from != Sealed && from != Undetermined {
			continue
		}
		for _, b := range w.calls {
			if b.Start <= a.End || b.Variant != a.Variant {
				continue
			}
			c.pair(a, b, from, b.Means(), r)
		}
		for _, e := range w.execs {
			if by := w.call(e.Call); by != nil && by.Start > a.End && (from != Undetermined || !c.mayRepeat()) {
				r.add("I3", "%s was answered %s, and then %s was sent", a.ID, from, by.ID)
			}
		}
	}
	for _, call := range w.calls {
		if m := call.Means(); m == Odd || m == Bare || m == Doubled && !w.lost {
			r.add("I10", "%s was answered %s: %d %s %s", call.ID, m, call.Answer.Status, call.Answer.Kind, call.Answer.Said)
		}
	}
}

func (c *checker) mayRepeat() bool { return c.run.Rules.UpstreamDedup || c.run.Rules.Reconciler }

// pair judges b, asked after a was answered.
func (c *checker) pair(a, b *Call, from, to Meaning, r *report) {
	invariant, legal := "I3", true
	switch {
	case to == Nothing || to == Refused || to == Loose || to == Doubled || to == Odd:
		return
	case from == Real && to == Sealed:
		legal = a.Script.Unkept() || c.run.Rules.Expires
	case from == Sealed && to == Real:
		invariant, legal = "I10", false
	case from == Sealed && to == Sealed:
		legal = a.Answer.OriginalStatus == b.Answer.OriginalStatus || a.Answer.OriginalStatus == 0 || b.Answer.OriginalStatus == 0
	case from == Undetermined && to == Running:
		invariant, legal = "I10", c.run.Rules.UpstreamDedup || c.storeFault(a.Start, b.End) || c.fault(FaultStop, a.Start-int64(Lease), b.End)
	case from == Undetermined && to == Freed:
		invariant, legal = "I10", c.mayRepeat()
	case to == Running || to == Undetermined:
		legal = from == Undetermined || from == Sealed && c.storeFault(a.Start, b.End)
	case to == Freed || to == Bare || to == Reused:
		legal = false
	}
	if !legal {
		r.add(invariant, "%s was answered %s, and later %s %s", a.ID, from, b.ID, to)
	}
}

// truth is I4: executed says what the ledger says.
func (c *checker) truth(w *view, r *report) {
	sent, effects := map[string]bool{}, 0
	for _, e := range w.execs {
		sent[e.Call] = true
		if e.Effect {
			effects++
		}
	}
	for _, call := range w.calls {
		switch call.Answer.Executed {
		case "no":
			if sent[call.ID] {
				r.add("I4", "%s was told that it was not executed (%s), and it was sent", call.ID, call.Answer.Kind)
			}
		case "yes":
			if effects == 0 && !w.lost {
				r.add("I4", "%s was told that it was executed, and no execution is in the ledger", call.ID)
			}
		}
	}
}

// unknowns is I5: an outcome is unknown only where something happened that can hide it.
func (c *checker) unknowns(w *view, r *report) {
	for _, call := range w.calls {
		if call.Means() == Undetermined && c.ambiguous(w, call.End) == "" && !c.brokenBeside(w, call.End) {
			r.add("I5", "%s: the outcome is said to be unknown, and nothing hid it", call.ID)
			return
		}
	}
}

// ambiguous gives what could have hidden the outcome before t; "" is nothing.
func (c *checker) ambiguous(w *view, t int64) string {
	for _, call := range w.calls {
		if call.Start > t {
			break
		}
		end := call.End
		if end == 0 {
			end = 1 << 62
		}
		switch {
		case call.Variant == "" && call.Script.Ambiguous():
			return "the upstream's behaviour"
		case call.Means() == Nothing && !call.Refused:
			return "an attempt without an answer"
		case call.End-call.Start > int64(RouteTimeout)*9/10:
			return "an attempt that took as long as it may"
		case c.fault(FaultStop, call.Start, min(end, t)):
			return "a paused gateway"
		case c.storeFault(call.Start, min(end, t)):
			return "a disturbed store"
		}
	}
	return ""
}

// brokenBeside tells that shortly before some attempt of the slot, until t, the upstream broke connections of the same gateway: one that was kept
// may have been taken for the attempt in the instant in which it broke.
func (c *checker) brokenBeside(w *view, t int64) bool {
	const beside = int64(50e6)
	for _, call := range w.calls {
		for _, other := range c.breaking {
			if call.Start <= t && other.Gateway == call.Gateway && other.Start <= call.End && (other.End == 0 || other.End >= call.Start-beside) {
				return true
			}
		}
	}
	return false
}

// alive is I6: at rest every key has come to an end.
func (c *checker) alive(w *view, r *report) {
	var last *Call
	for _, call := range w.calls {
		if call.Last {
			last = call
		}
	}
	if last == nil {
		return
	}
	switch m := last.Means(); m {
	case Real, Sealed:
	case Undetermined:
		if c.run.Rules.Reconciler {
			r.add("I6", "%s: unknown at rest, although the upstream can be asked", last.ID)
		}
	case Freed: // the upstream still says so
	case Reused:
		if !w.taken(last.Variant) {
			r.add("I6", "%s: at rest it is answered %s, and the key has only one body", last.ID, m)
		}
	default:
		r.add("I6", "%s: at rest it is answered %s (%d %s %s)", last.ID, m, last.Answer.Status, last.Answer.Kind, last.Err)
	}
}

// taken tells that another body than the variant got hold of the key.
func (w *view) taken(variant string) bool {
	for _, call := range w.calls {
		if m := call.Means(); call.Variant != variant && (m == Real || m == Sealed || m == Undetermined || m == Nothing) {
			return true
		}
	}
	return false
}

// isolation is I7: nobody sees an execution of another, or that he used the same key.
func (c *checker) isolation(w *view, r *report) {
	for i, call := range w.calls {
		if e := c.lines[call.Answer.Exec]; e != nil {
			if by := c.byCall[e.Call]; by != nil && by.Slot != w.slot {
				r.add("I7", "%s was told of %s, which is %s's", call.ID, e.Exec, by.Slot)
			}
		}
		if i > 0 || w.lost {
			continue
		}
		m := call.Means()
		if others := len(w.calls) > 1 && (call.End == 0 || w.calls[1].Start < call.End); others {
			continue
		}
		if m == Reused || m == Running || call.Answer.Replayed {
			r.add("I7", "%s is the first under its key, and was answered %s", call.ID, m)
		}
	}
}

// mismatch is I8: another body under the key is refused in every state, and never sent.
func (c *checker) mismatch(w *view, r *report) {
	for _, a := range w.calls {
		if m := a.Means(); m != Real && m != Sealed && m != Undetermined {
			continue
		}
		for _, b := range w.calls {
			if b.Variant == a.Variant || b.Start <= a.End {
				continue
			}
			if m := b.Means(); m != Reused && m != Nothing && m != Refused {
				r.add("I8", "%s has another body than %s, and was answered %s", b.ID, a.ID, m)
			}
			for _, e := range w.execs {
				if e.Call == b.ID {
					r.add("I8", "%s has another body than %s, and was sent", b.ID, a.ID)
				}
			}
		}
	}
	for _, b := range w.calls {
		if b.Means() != Reused || w.lost {
			continue
		}
		other := false
		for _, a := range w.calls {
			other = other || a.Variant != b.Variant && a.Start < b.End
		}
		if !other && b != w.calls[0] {
			r.add("I8", "%s was answered %s, and the key has only one body", b.ID, Reused)
		}
	}
}

// released is I9: a key that was given back works at the next try.
func (c *checker) released(w *view, r *report) {
	for i := 0; i+1 < len(w.calls); i++ {
		a, b := w.calls[i], w.calls[i+1]
		if m := a.Means(); m != Freed && !(m == Refused && a.Answer.Kind == "upstream-failed") {
			continue
		}
		alone := b.Start > a.End && (i+2 == len(w.calls) || b.End != 0 && w.calls[i+2].Start > b.End)
		for _, other := range w.calls[:i] {
			alone = alone && other.End != 0 && other.End < b.Start
		}
		if !alone || c.ambiguous(&view{calls: w.calls[:i+2]}, b.End) != "" {
			continue
		}
		switch m := b.Means(); m {
		case Running, Undetermined, Sealed, Reused:
			r.add("I9", "%s gave its key back, and %s was answered %s", a.ID, b.ID, m)
		}
	}
}
