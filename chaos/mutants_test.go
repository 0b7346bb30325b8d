package chaos

import (
	"os"
	"testing"
	"time"
)

// mutants are the known defects of package mutant, each with a scenario that must be red with it and green without.
var mutants = []struct {
	tag  string
	cell func() Cell
}{
	{"mutant_takeover", func() Cell { return Cell{Point: "K6", Topology: Embedded(1), Behaviour: "ok", Habit: Sequential} }},
	{"mutant_lease_ttl", func() Cell {
		return Cell{Point: "K6", Topology: Embedded(1), Behaviour: "ok", Habit: Sequential, Rest: Lease + 2*time.Second}
	}},
	{"mutant_delete_on_error", func() Cell { return Cell{Topology: Embedded(1), Behaviour: "dies", Habit: Sequential} }},
	{"mutant_transport_retry", func() Cell { return Cell{Topology: Embedded(1), Behaviour: "dies", Habit: Sequential} }},
	{"mutant_takeover", func() Cell {
		return Cell{Point: "K6", Topology: RedisAlone(2, "always"), Behaviour: "ok", Habit: Sequential}
	}},
	{"mutant_lease_ttl", func() Cell {
		return Cell{Point: "K6", Topology: RedisAlone(2, "always"), Behaviour: "ok", Habit: Sequential, Rest: Lease + 2*time.Second}
	}},
	{"mutant_blind_finish", func() Cell {
		return Cell{Topology: RedisAlone(2, "always"), Faults: []string{RedisLose}, Rounds: 20, Workers: 18, Behaviour: Lingers.Name, Habit: Storm}
	}},
	{"mutant_fail_open", func() Cell {
		return Cell{Topology: RedisAlone(2, "always"), Faults: []string{RedisKill}, Rounds: 3, Behaviour: "ok", Habit: Sequential}
	}},
	{"mutant_unscoped", func() Cell { return Cell{Topology: Embedded(1), Behaviour: "ok", Habit: Sequential} }},
}

// TestMutants proves that the harness would find each known defect: a harness that stays green is no evidence.
func TestMutants(t *testing.T) {
	t.Parallel()
	for _, m := range mutants {
		t.Run(m.tag+"/"+m.cell().Topology.Name, func(t *testing.T) {
			t.Parallel()
			t.Run("normal", func(t *testing.T) {
				t.Parallel()
				play(t, m.cell())
			})
			t.Run("mutant", func(t *testing.T) {
				t.Parallel()
				found(t, m.tag, m.cell())
			})
		})
	}
}

// found requires that the defect is reported.
func found(t *testing.T, tag string, cell Cell) {
	t.Helper()
	for try := 1; ; try++ {
		seed := seedOf(t, tag)
		out := sick(t, tag, cell, seed)
		if len(out.Verdict.Violations) > 0 {
			t.Logf("%d violations in run %d, the first: %s", len(out.Verdict.Violations), try, out.Verdict.Violations[0])
			return
		}
		if try == 5 { // most meet their moment at once; one needs a pause in the right place, and a busy machine takes them away
			t.Fatalf("%s was not found in %d calls, %d executions (seed %d), nor in four runs before", tag, out.Calls, out.Verdict.Executions, seed)
		}
	}
}

// sick runs a cell with a defect.
func sick(t *testing.T, tag string, cell Cell, seed uint64) Outcome {
	t.Helper()
	dir, err := os.MkdirTemp("", "oncegate-mutant-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	out, err := RunCell(t, binary(t, "failpoint "+tag), cell, seed, dir)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
