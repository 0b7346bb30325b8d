package chaos

import (
	"slices"
	"testing"
	"time"
)

var mine = Slot{"w", "alice", "k"}

// told makes a call of mine from ms to ms.
func told(id string, from, to int, a Answer) Call {
	return Call{ID: id, Slot: mine, Start: ms(from), End: ms(to), Answer: a}
}

func ms(n int) int64 { return int64(n) * int64(time.Millisecond) }

// ran makes a line of the ledger.
func ran(exec, call string, at int) Execution {
	return Execution{Exec: exec, Call: call, Forwarded: "F", Effect: true, Status: 201, T: ms(at)}
}

func real201(exec string) Answer {
	return Answer{Status: 201, Said: "executed", Exec: exec, Body: exec, Kept: "json"}
}

func replay(exec string) Answer {
	a := real201(exec)
	a.Said, a.Replayed = "replayed", true
	return a
}

func problem(status int, kind, executed string) Answer {
	return Answer{Status: status, Kind: kind, Executed: executed}
}

var (
	running = problem(409, "in-progress", "in_progress")
	unknown = problem(409, "outcome-unknown", "unknown")
	sealed  = problem(409, "result-unavailable", "yes")
	reused  = problem(422, "key-reused", "no")
	refused = problem(502, "upstream-failed", "no")
	noStore = problem(503, "store-unavailable", "no")
	tooMany = Answer{Status: 429, Said: "executed"}
)

func with(c Call, change func(*Call)) Call {
	change(&c)
	return c
}

func last(c Call) Call { c.Last = true; return c }

func broke(id string, from, to int) Call {
	return Call{ID: id, Slot: mine, Start: ms(from), End: ms(to), Err: "EOF"}
}

// breaks is a call of another slot in which the upstream breaks its connection.
func breaks(from, to, gateway int) Call {
	return Call{ID: "z1", Slot: Slot{"w", "bob", "z"}, Start: ms(from), End: ms(to), Gateway: gateway, Script: Script{Die: DieAfter}, Answer: unknown}
}

// A kept connection may break in the instant in which another call takes it.
func TestBrokenBesideIsAReason(t *testing.T) {
	run := Run{Calls: []Call{told("a1", 100, 110, unknown), breaks(60, 99, 0)}, Ledger: []Execution{ran("x1", "a1", 105)}}
	for _, v := range Check(run).Violations {
		if v.Invariant == "I5" {
			t.Error(v)
		}
	}
}

// good is a run in which everything happened and nothing was wrong.
func good() Run {
	ambiguous := Script{Die: DieAfter}
	other, third, fourth := Slot{"w", "bob", "k"}, Slot{"w", "alice", "k3"}, Slot{"w", "alice", "k4"}
	move := func(s Slot, c Call) Call { c.Slot = s; return c }
	return Run{
		Calls: []Call{
			told("a1", 0, 10, real201("x1")), told("a2", 2, 4, running), told("a3", 20, 22, replay("x1")),
			with(told("a4", 30, 31, reused), func(c *Call) { c.Variant = "wrong" }), last(told("a5", 90, 91, replay("x1"))),
			move(other, told("b1", 0, 10, real201("x2"))), move(other, last(told("b2", 90, 91, replay("x2")))),
			move(third, with(told("c1", 0, 10, unknown), func(c *Call) { c.Script = ambiguous })),
			move(third, last(told("c2", 20, 22, unknown))),
			move(fourth, told("d1", 0, 1, refused)), move(fourth, told("d2", 2, 5, tooMany)), move(fourth, told("d3", 6, 9, real201("x4"))),
			move(fourth, last(told("d4", 90, 91, replay("x4")))),
		},
		Ledger: []Execution{
			ran("x1", "a1", 5),
			{Exec: "x2", Call: "b1", Forwarded: "FB", Effect: true, Status: 201, T: ms(5)},
			{Exec: "x3", Call: "c1", Forwarded: "FC", Effect: true, Status: 201, T: ms(5)},
			{Exec: "r4", Call: "d2", Forwarded: "FD", Status: 429, T: ms(3)},
			{Exec: "x4", Call: "d3", Forwarded: "FD", Effect: true, Status: 201, T: ms(7)},
		},
		Dump: []Record{{"F", "completed", 201}, {"FB", "completed", 201}, {"FC", "unknown", 0}, {"FD", "completed", 201}},
	}
}

func TestCheckerAcceptsGood(t *testing.T) {
	v := Check(good())
	for _, bad := range v.Violations {
		t.Error(bad)
	}
	if v.Unknowns != 1 || v.Slots != 4 || v.Executions != 5 {
		t.Errorf("%+v", v)
	}
}

// Every invariant has at least one history that breaks it, and that is reported under its name.
func TestCheckerReports(t *testing.T) {
	pair := func(first, then Answer) []Call { return []Call{told("a1", 0, 10, first), told("a2", 20, 22, then)} }
	one := []Execution{ran("x1", "a1", 5)}
	for _, c := range []struct {
		name, want string
		run        Run
	}{
		{"two effects", "I1", Run{Calls: []Call{broke("a1", 0, 10), told("a2", 20, 30, real201("x2"))}, Ledger: []Execution{ran("x1", "a1", 5), ran("x2", "a2", 25)}}},
		{"two dispatches", "I1", Run{Calls: []Call{broke("a1", 0, 10), told("a2", 20, 30, real201("x2"))}, Ledger: []Execution{noEffect(ran("x1", "a1", 5)), ran("x2", "a2", 25)}}},
		{"two forwarded keys", "I1", Run{Rules: Rules{UpstreamDedup: true}, Calls: []Call{broke("a1", 0, 10), told("a2", 20, 30, real201("x1"))}, Ledger: []Execution{ran("x1", "a1", 5), {Exec: "x1", Call: "a2", Forwarded: "G", Attempt: 2, T: ms(25)}}}},
		{"attempts do not rise", "I1", Run{Rules: Rules{UpstreamDedup: true}, Calls: []Call{broke("a1", 0, 10), told("a2", 20, 30, real201("x1"))}, Ledger: []Execution{ran("x1", "a1", 5), {Exec: "x1", Call: "a2", Forwarded: "F", T: ms(25)}}}},
		{"another replay", "I2", Run{Calls: pair(real201("x1"), replay("x9")), Ledger: append(one, Execution{Exec: "x9", Call: "a1", Forwarded: "F", Effect: true, Status: 201})}},
		{"other headers", "I2", Run{Calls: pair(real201("x1"), otherHeaders(replay("x1"))), Ledger: one}},
		{"an answer of nothing", "I2", Run{Calls: []Call{told("a1", 0, 10, real201("x7"))}}},
		{"a lost answer", "I3", Run{Calls: pair(real201("x1"), unknown), Ledger: one}},
		{"running after the answer", "I3", Run{Calls: pair(real201("x1"), running), Ledger: one}},
		{"sealed without being declared", "I3", Run{Calls: pair(real201("x1"), sealed), Ledger: one}},
		{"sent after the answer", "I3", Run{Calls: append(pair(real201("x1"), Answer{}), broke("a3", 30, 31)), Ledger: append(one, Execution{Exec: "r", Call: "a3", Forwarded: "F", Status: 429, T: ms(30)})}},
		{"sent after unknown", "I3", Run{Calls: []Call{with(told("a1", 0, 10, unknown), func(c *Call) { c.Script.Die = DieBefore }), broke("a2", 20, 21)}, Ledger: []Execution{ran("x", "a2", 20)}}},
		{"executed after all", "I4", Run{Calls: []Call{told("a1", 0, 10, noStore)}, Ledger: one}},
		{"not executed after all", "I4", Run{Calls: []Call{told("a1", 0, 10, sealed)}}},
		{"unknown without a reason", "I5", Run{Calls: []Call{told("a1", 0, 10, unknown)}, Ledger: one}},
		{"unknown, another gateway's connection broke", "I5", Run{Calls: []Call{told("a1", 100, 110, unknown), breaks(95, 99, 1)}, Ledger: one}},
		{"unknown, a connection broke long before", "I5", Run{Calls: []Call{told("a1", 100, 110, unknown), breaks(0, 40, 0)}, Ledger: one}},
		{"in progress for ever", "I6", Run{Calls: []Call{broke("a1", 0, 10), last(told("a2", 90_000, 90_001, running))}}},
		{"not healed", "I6", Run{Calls: []Call{last(told("a2", 90_000, 90_001, noStore))}}},
		{"never asked", "I6", Run{Rules: Rules{Reconciler: true}, Calls: []Call{broke("a1", 0, 10), last(told("a2", 90_000, 90_001, unknown))}}},
		{"a record in flight", "I6", Run{Calls: []Call{broke("a1", 0, 10)}, Ledger: one, Dump: []Record{{"F", "in_flight", 0}}}},
		{"another's answer", "I7", Run{Calls: []Call{told("a1", 0, 10, real201("x1")), {ID: "b1", Slot: Slot{"w", "bob", "k"}, Start: ms(20), End: ms(21), Answer: replay("x1")}}, Ledger: one}},
		{"another's key", "I7", Run{Calls: []Call{told("a1", 0, 10, real201("x1")), {ID: "b1", Slot: Slot{"w", "bob", "k"}, Start: ms(20), End: ms(21), Answer: reused}}, Ledger: one}},
		{"one forwarded key for two", "I7", Run{Calls: []Call{told("a1", 0, 10, real201("x1")), {ID: "b1", Slot: Slot{"w", "bob", "k"}, Start: ms(20), End: ms(21), Answer: real201("x2")}}, Ledger: append(one, ran("x2", "b1", 20))}},
		{"another body is answered", "I8", Run{Calls: []Call{told("a1", 0, 10, real201("x1")), with(told("a2", 20, 21, replay("x1")), func(c *Call) { c.Variant = "wrong" })}, Ledger: one}},
		{"another body is sent", "I8", Run{Calls: []Call{told("a1", 0, 10, real201("x1")), with(broke("a2", 20, 21), func(c *Call) { c.Variant = "wrong" })}, Ledger: append(one, ran("x2", "a2", 20))}},
		{"one body is two", "I8", Run{Calls: pair(real201("x1"), reused), Ledger: one}},
		{"a freed key is not free", "I9", Run{Calls: pair(tooMany, running)}},
		{"a key of nothing sent is not free", "I9", Run{Calls: pair(refused, sealed)}},
		{"sealed and then kept", "I10", Run{Calls: pair(sealed, replay("x1")), Ledger: one}},
		{"a claim taken without a loss", "I10", Run{Calls: []Call{told("a1", 0, 10, Answer{Status: 201, Said: "conflict", Exec: "x1"})}, Ledger: one}},
		{"an answer of no contract", "I10", Run{Calls: []Call{told("a1", 0, 10, problem(500, "internal", ""))}}},
		{"the record is not what was said", "I10", Run{Calls: []Call{told("a1", 0, 10, real201("x1"))}, Ledger: one, Dump: []Record{{"F", "unknown", 0}}}},
		{"too many goroutines", "I11", Run{Bounds: []Bound{{"goroutines", 5000, 200}}}},
		{"a gateway that crashed", "I11", Run{Faults: []Fault{{Kind: FaultProcess, Target: "g0"}}}},
		{"an acknowledged result is gone", "I12", Run{Calls: []Call{told("a1", 0, 10, real201("x1"))}, Ledger: one, Dump: []Record{}}},
		{"an acknowledged claim is gone", "I12", Run{Calls: []Call{broke("a1", 0, 10)}, Ledger: one, Dump: []Record{}}},
		{"a record of nothing", "I13", Run{Dump: []Record{{"F", "completed", 201}}}},
		{"an execution of nobody", "I13", Run{Ledger: one}},
		{"executed and free", "I13", Run{Calls: []Call{broke("a1", 0, 10), last(told("a2", 90, 91, tooMany))}, Ledger: one}},
		{"answered and never executed", "I13", Run{Calls: []Call{last(told("a1", 0, 10, sealed))}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := Check(c.run)
			if !slices.ContainsFunc(v.Violations, func(v Violation) bool { return v.Invariant == c.want }) {
				t.Errorf("%s was not reported: %v", c.want, v.Violations)
			}
		})
	}
}

func noEffect(e Execution) Execution { e.Effect = false; return e }

func otherHeaders(a Answer) Answer { a.Kept = "other"; return a }

// What a store may lose is counted, and excused only up to the moment of the loss.
func TestCheckerKnowsWhatMayBeLost(t *testing.T) {
	twice := Run{
		Calls:  []Call{told("a1", 0, 10, real201("x1")), told("a2", 30, 40, real201("x2")), last(told("a3", 900, 910, replay("x2")))},
		Ledger: []Execution{ran("x1", "a1", 5), ran("x2", "a2", 35)},
		Rules:  Rules{MayLose: map[Slot][]int64{mine: {ms(20)}}},
	}
	v := Check(twice)
	if len(v.Violations) != 0 || len(v.Losses) == 0 {
		t.Errorf("a declared loss: %v, losses %v", v.Violations, v.Losses)
	}
	twice.Rules.MayLose[mine] = []int64{ms(-1000)}
	if v := Check(twice); len(v.Violations) == 0 {
		t.Error("what was acknowledged after the loss is excused, too")
	}
	blind := Run{ // a1's claim was lost, a2 claimed anew; then a1's late result may not pass for the answer
		Calls:  []Call{told("a1", 0, 600, real201("x1")), told("a2", 30, 40, real201("x2")), last(told("a3", 900, 910, replay("x2")))},
		Ledger: []Execution{ran("x1", "a1", 5), ran("x2", "a2", 35)},
		Rules:  Rules{MayLose: map[Slot][]int64{mine: {ms(20)}}},
	}
	if v := Check(blind); !slices.ContainsFunc(v.Violations, func(v Violation) bool { return v.Invariant == "I2" }) {
		t.Errorf("two different answers after the loss: %v", v.Violations)
	}
	blind.Calls[0].Answer.Said = "conflict"
	if v := Check(blind); len(v.Violations) != 0 {
		t.Errorf("a conflict that was said: %v", v.Violations)
	}
}

// The reasons that make an unknown outcome honest.
func TestCheckerAcceptsHonestUnknowns(t *testing.T) {
	for name, change := range map[string]func(*Run){
		"script":  func(r *Run) { r.Calls[0].Script.Die = DieAfter },
		"slow":    func(r *Run) { r.Calls[0].End = ms(3000) },
		"silence": func(r *Run) { r.Calls = append(r.Calls, broke("a0", -5, 1)) },
		"pause":   func(r *Run) { r.Faults = []Fault{{FaultStop, "g0", ms(1), ms(2)}} },
		"store":   func(r *Run) { r.Faults = []Fault{{FaultStore, "redis", ms(-100), ms(-50)}} },
	} {
		run := Run{Calls: []Call{told("a1", 0, 10, unknown)}, Ledger: []Execution{ran("x1", "a1", 5)}}
		change(&run)
		if v := Check(run); len(v.Violations) != 0 {
			t.Errorf("%s: %v", name, v.Violations)
		}
	}
}
