package chaos

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Summary adds up cells by topology.
type Summary struct{ rows map[string]*row }

type row struct {
	cells, slots, calls, executions, kills, stops, stores, failovers, unknowns, known, losses, violations int
	points                                                                                                map[string]int
	took                                                                                                  time.Duration
}

// Add counts a cell.
func (s *Summary) Add(o Outcome) {
	if s.rows == nil {
		s.rows = map[string]*row{}
	}
	r := s.rows[o.Cell.Topology.Name]
	if r == nil {
		r = &row{points: map[string]int{}}
		s.rows[o.Cell.Topology.Name] = r
	}
	r.cells++
	r.slots += o.Verdict.Slots
	r.calls += o.Calls
	r.executions += o.Verdict.Executions
	r.kills += o.Kills
	r.stops += o.Stops
	r.stores += o.Stores
	r.failovers += o.Fails
	r.unknowns += o.Verdict.Unknowns
	r.known += o.Known
	r.losses += o.Verdict.Lost
	r.violations += len(o.Verdict.Violations)
	if o.Cell.Point != "" {
		r.points[o.Cell.Point] += o.Points
	}
	r.took += o.Took
}

// Losses gives the declared losses and the failovers of a topology.
func (s *Summary) Losses(topology string) (lost, failovers int) {
	if r := s.rows[topology]; r != nil {
		return r.losses, r.failovers
	}
	return 0, 0
}

// Unreached gives the places where no gateway ended, by topology.
func (s *Summary) Unreached() (all []string) {
	for name, r := range s.rows {
		for point, n := range r.points {
			if n == 0 {
				all = append(all, name+" "+point)
			}
		}
	}
	slices.Sort(all)
	return all
}

// String is the table, as Markdown.
func (s *Summary) String() string {
	var b strings.Builder
	b.WriteString("| topology | cells | keys | calls | executions | gateway kills | pauses | store faults | failovers | unknown | keys lost in declared windows | counted by gateways | violations |\n")
	b.WriteString("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	names := make([]string, 0, len(s.rows))
	for name := range s.rows {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		r := s.rows[name]
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d | %d |\n",
			name, r.cells, r.slots, r.calls, r.executions, r.kills, r.stops, r.stores, r.failovers, r.unknowns, r.losses, r.known, r.violations)
	}
	if never := s.Unreached(); len(never) > 0 {
		fmt.Fprintf(&b, "\nNo gateway ended at: %s\n", strings.Join(never, ", "))
	}
	return b.String()
}
