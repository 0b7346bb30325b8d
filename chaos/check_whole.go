package chaos

// whole holds the run as a whole against I5, I7, I11, I12 and I13.
func (c *checker) whole(v *Verdict) []Violation {
	r := report{w: &view{}}
	if v.Unknowns > v.Ambiguous {
		r.add("I5", "%d outcomes are unknown, and only %d could be", v.Unknowns, v.Ambiguous)
	}
	for _, e := range c.orphan {
		r.add("I13", "execution %s came from no call that was made (%q)", e.Exec, e.Call)
	}
	for _, b := range c.run.Bounds {
		if b.Got > b.Most {
			r.add("I11", "%s is %g, and may be %g", b.What, b.Got, b.Most)
		}
	}
	for _, f := range c.run.Faults {
		if f.Kind == FaultProcess {
			r.add("I11", "%s ended by itself", f.Target)
		}
	}
	forwarded := map[string]Slot{}
	for _, w := range c.views {
		for _, e := range w.execs {
			if before, known := forwarded[e.Forwarded]; known && before != w.slot && e.Forwarded != "" {
				r.add("I7", "the upstream saw one key for %s and %s", before, w.slot)
			}
			forwarded[e.Forwarded] = w.slot
		}
	}
	c.accounts(&r)
	if c.run.Dump != nil {
		c.dump(&r)
	}
	return r.all
}

// accounts is I13 as clients see it: what was executed was answered as executed, or is unknown.
func (c *checker) accounts(r *report) {
	for _, w := range c.views {
		if _, may := c.run.Rules.MayLose[w.slot]; may {
			continue
		}
		var last *Call
		for _, call := range w.calls {
			if call.Last {
				last = call
			}
		}
		if last == nil {
			continue
		}
		effects := 0
		for _, e := range w.execs {
			if e.Effect {
				effects++
			}
		}
		r.w = w
		switch m := last.Means(); {
		case effects > 0 && (m == Freed || m == Refused):
			r.add("I13", "%d executions, and at rest the key counts as free (%s)", effects, m)
		case effects == 0 && (m == Real || m == Sealed):
			r.add("I13", "no execution, and at rest the key counts as executed (%s)", m)
		}
	}
	r.w = &view{}
}

// dump is I12, I13 and the end of I10: what was acknowledged is in the store, and nothing else.
func (c *checker) dump(r *report) {
	records := map[string]Record{}
	for _, d := range c.run.Dump {
		records[d.Forwarded] = d
	}
	for _, w := range c.views {
		if len(w.execs) == 0 {
			continue
		}
		r.w = w
		got := records[w.execs[0].Forwarded]
		delete(records, w.execs[0].Forwarded)
		if _, may := c.run.Rules.MayLose[w.slot]; !may {
			c.record(w, got, r)
		}
	}
	r.w = &view{}
	for key, d := range records {
		if d.State == "completed" || d.State == "sealed" {
			r.add("I13", "record %s is %s, and nothing was executed under it", key, d.State)
		}
	}
}

// record judges what the store holds of a slot that reached the upstream.
func (c *checker) record(w *view, got Record, r *report) {
	var final *Call
	effects, open := 0, 0
	for _, call := range w.calls {
		if m := call.Means(); m == Real || m == Sealed {
			final = call
		}
	}
	for _, e := range w.execs {
		if e.Effect {
			effects++
		}
		if !FreesKey(e.Status) && (e.Effect || !c.run.Rules.Reconciler) {
			open++
		}
	}
	absent := got.State == "" || got.State == "absent"
	switch {
	case final != nil && absent:
		r.add("I12", "%s got a final answer, and no record is left", final.ID)
	case final != nil && got.State != "completed" && got.State != "sealed":
		r.add("I10", "%s got a final answer, and the record is %s", final.ID, got.State)
	case open > 0 && absent:
		r.add("I12", "%d dispatches, and no record is left of the claim", open)
	case effects > 0 && absent:
		r.add("I13", "%d executions, and no record", effects)
	case got.State == "in_flight":
		r.add("I6", "a record is in flight at rest")
	case effects == 0 && got.State == "completed":
		r.add("I13", "the record is completed, and nothing was executed")
	}
}
