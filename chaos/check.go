package chaos

import (
	"fmt"
	"slices"
	"sort"
)

// Run is all that is known of a run when everything is at rest.
type Run struct {
	Calls  []Call
	Ledger []Execution
	Faults []Fault
	Dump   []Record // the store's records at rest; nil: not looked at
	Bounds []Bound
	Rules  Rules
}

// Rules are what the run's set-up allows.
type Rules struct {
	UpstreamDedup bool // an unknown outcome is sent again with the same forwarded key
	Reconciler    bool // unknown outcomes are asked about: none is left at rest
	Expires       bool // answers are over soon: completed may become sealed
	// MayLose are slots of which the store may have lost what it acknowledged before these instants: its failover keeps no
	// more. Between two of them everything holds.
	MayLose map[Slot][]int64
}

// Record is what a store holds of a key.
type Record struct {
	Forwarded string // the key that the upstream sees
	State     string
	Status    int
}

// Bound is something that was measured, and how large it may be.
type Bound struct {
	What      string
	Got, Most float64
}

// Violation is a broken invariant.
type Violation struct {
	Invariant string // I1 to I13
	Slot      Slot
	Text      string
}

func (v Violation) String() string { return fmt.Sprintf("%s %s: %s", v.Invariant, v.Slot, v.Text) }

// Verdict is what the checker found.
type Verdict struct {
	Violations []Violation
	Losses     []Violation // the same on slots that may be lost
	Lost       int         // slots of those
	Unknowns   int         // slots whose outcome stayed unknown
	Ambiguous  int         // slots in which something happened that can hide an outcome
	Executions int
	Slots      int
}

// Check holds a run against I1 to I13. It is a pure function.
func Check(run Run) Verdict {
	c := &checker{run: &run, byCall: map[string]*Call{}, lines: map[string]*Execution{}}
	c.index()
	v := Verdict{Slots: len(c.views), Executions: len(run.Ledger)}
	for _, w := range c.views {
		full := c.slot(w)
		if at := run.Rules.MayLose[w.slot]; len(at) == 0 {
			v.Violations = append(v.Violations, full...)
		} else {
			kept := c.parts(w, at)
			v.Violations = append(v.Violations, kept...)
			if lost := without(full, kept); len(lost) > 0 {
				v.Losses = append(v.Losses, lost...)
				v.Lost++
			}
		}
		if w.unknown() {
			v.Unknowns++
		}
		if c.ambiguous(w, 1<<62) != "" || c.brokenBeside(w, 1<<62) {
			v.Ambiguous++
		}
	}
	v.Violations = append(v.Violations, c.whole(&v)...)
	return v
}

func without(all, some []Violation) (rest []Violation) {
	for _, v := range all {
		if !slices.Contains(some, v) {
			rest = append(rest, v)
		}
	}
	return rest
}

// checker looks things up.
type checker struct {
	run    *Run
	byCall map[string]*Call
	lines  map[string]*Execution // by execution id, those with an effect
	views  []*view
	orphan []Execution // of no call that is known

	breaking []*Call // in which the upstream breaks its connection
}

// view is all that concerns one slot, in order of time.
type view struct {
	slot  Slot
	calls []*Call
	execs []*Execution
	lost  bool // something before the first call that is shown was lost
}

func (c *checker) index() {
	views := map[Slot]*view{}
	for i := range c.run.Calls {
		call := &c.run.Calls[i]
		c.byCall[call.ID] = call
		if call.Script.Die != "" {
			c.breaking = append(c.breaking, call)
		}
		w := views[call.Slot]
		if w == nil {
			w = &view{slot: call.Slot}
			views[call.Slot] = w
			c.views = append(c.views, w)
		}
		w.calls = append(w.calls, call)
	}
	for i := range c.run.Ledger {
		e := &c.run.Ledger[i]
		if e.Effect {
			c.lines[e.Exec] = e
		}
		call := c.byCall[e.Call]
		if call == nil {
			c.orphan = append(c.orphan, *e)
			continue
		}
		views[call.Slot].execs = append(views[call.Slot].execs, e)
	}
	for _, w := range c.views {
		sort.SliceStable(w.calls, func(i, j int) bool { return w.calls[i].Start < w.calls[j].Start })
		sort.SliceStable(w.execs, func(i, j int) bool { return w.execs[i].T < w.execs[j].T })
	}
}

const (
	forever = int64(1) << 62
	grace   = int64(300e6) // an answer that was acknowledged before a loss may still be on its way
)

// parts holds what lies between losses against the invariants.
func (c *checker) parts(w *view, losses []int64) (all []Violation) {
	slices.Sort(losses)
	for i, from := range losses {
		until := forever
		if i+1 < len(losses) {
			until = losses[i+1]
		}
		all = append(all, c.slot(w.between(from, until))...)
	}
	return all
}

// between shows the calls that were answered in a time, and the executions of calls that began in it.
func (w *view) between(from, until int64) *view {
	v := &view{slot: w.slot, lost: true}
	for _, call := range w.calls {
		late := call.Start < from && call.End != 0 && call.End < from+grace
		if !late && (call.End >= from && call.End < until || call.End == 0 && until == forever) {
			v.calls = append(v.calls, call)
		}
	}
	for _, e := range w.execs {
		if call := w.call(e.Call); call != nil && call.Start >= from && e.T < until {
			v.execs = append(v.execs, e)
		}
	}
	return v
}

func (w *view) call(id string) *Call {
	for _, call := range w.calls {
		if call.ID == id {
			return call
		}
	}
	return nil
}

// unknown tells how the slot ended for its client.
func (w *view) unknown() bool {
	for i := len(w.calls) - 1; i >= 0; i-- {
		switch m := w.calls[i].Means(); m {
		case Undetermined:
			return true
		case Real, Sealed, Loose, Doubled:
			return false
		}
	}
	return false
}

// slot holds one slot against the invariants that need no other slot.
func (c *checker) slot(w *view) []Violation {
	r := report{w: w}
	c.effects(w, &r)
	c.fidelity(w, &r)
	c.order(w, &r)
	c.truth(w, &r)
	c.unknowns(w, &r)
	c.alive(w, &r)
	c.isolation(w, &r)
	c.mismatch(w, &r)
	c.released(w, &r)
	return r.all
}

// report collects violations of a slot.
type report struct {
	w   *view
	all []Violation
}

func (r *report) add(invariant, format string, args ...any) {
	r.all = append(r.all, Violation{invariant, r.w.slot, fmt.Sprintf(format, args...)})
}

// storeFault tells that the store was disturbed at some time from a to b.
func (c *checker) fault(kind string, a, b int64) bool {
	for _, f := range c.run.Faults {
		if f.Kind == kind && f.T <= b && (f.Until == 0 || f.Until >= a) {
			return true
		}
	}
	return false
}

// settling is how long after a store fault the backlog may still hold a result.
const settling = int64(20e9)

func (c *checker) storeFault(a, b int64) bool {
	return c.fault(FaultStore, a-settling, b) || c.fault(FaultLoss, a-settling, b)
}
