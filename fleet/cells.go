package fleet

import (
	"context"
	"fmt"
	"time"
)

// Places of the limits in AccuracyLimits.
const (
	Five = iota
	Hundred
	Thousand
	PerMinute
	Seldom
)

// AccuracyLimits are the limits of the table. 10000/s is left out: a machine of two processors can't offer four times as much
// and carry eight gateways beside it.
var AccuracyLimits = []Limit{
	Five:      {Name: "five", Rule: Rule{5, 5}, Spec: "rate: 5/s, burst: 5"},
	Hundred:   {Name: "hundred", Rule: Rule{100, 100}, Spec: "rate: 100/s, burst: 100"},
	Thousand:  {Name: "thousand", Rule: Rule{1000, 1000}, Spec: "rate: 1000/s, burst: 1000"},
	PerMinute: {Name: "minute", Rule: Rule{1000. / 60, 17}, Spec: "rate: 1000/m, burst: 17"},
	Seldom:    {Name: "seldom", Rule: Rule{.1, 1}, Spec: "rate: 1/10s, burst: 1"},
}

// Cell is one load on one fleet: each of its limits is offered Load times its rate.
type Cell struct {
	Gateways int
	Limits   []int
	Load     float64
	Skew     float64 // share of the first gateway; 0 is even
	Clients  int     // each with a bucket and the whole load of its own; 0 is 1
	For      time.Duration
}

// Row is what a cell came to for one limit.
type Row struct {
	Cell  Cell
	Limit Limit
	Figures
}

// Most is the greatest load a second that the generator offers.
const Most = 4000

// FullCells are all cells of a fleet of that size. Small limits run side by side, and longer.
func FullCells(gateways int) (all []Cell) {
	skews := []float64{0, .6}
	if gateways == 1 {
		skews = skews[:1]
	}
	for _, skew := range skews {
		for _, load := range []float64{.5, .9, 1, 2, 4, 10} {
			all = append(all, Cell{gateways, []int{Five, PerMinute, Seldom}, load, skew, 1, 8 * time.Second},
				Cell{gateways, []int{Hundred}, load, skew, 1, 5 * time.Second})
			if load*AccuracyLimits[Thousand].Rule.Rate <= Most {
				all = append(all, Cell{gateways, []int{Thousand}, load, skew, 1, 5 * time.Second})
			}
		}
	}
	return append(all, Cell{gateways, []int{Hundred}, 4, 0, 8, 5 * time.Second}, Cell{gateways, []int{Hundred}, 4, 0, 1, 25 * time.Second})
}

// ShortCells are those of every test run.
func ShortCells(gateways int) []Cell {
	const short = 4 * time.Second
	switch gateways {
	case 1:
		return []Cell{{1, []int{Hundred, Five}, 4, 0, 1, short}}
	case 2:
		return []Cell{{2, []int{Hundred}, .9, .6, 1, short}, {2, []int{Thousand}, 2, .6, 1, short}}
	}
	return []Cell{{gateways, []int{Hundred, PerMinute, Five}, 4, 0, 1, short}, {gateways, []int{Thousand}, .9, .6, 1, short}, {gateways, []int{Hundred}, 2, .6, 2, short}}
}

func (c Cell) String() string {
	names := ""
	for _, i := range c.Limits {
		names += " " + AccuracyLimits[i].Name
	}
	return fmt.Sprintf("%d gateways,%s, %gx, skew %g, %d clients", c.Gateways, names, c.Load, c.Skew, max(1, c.Clients))
}

const freePerSecond = 100

// Play runs the cell on a fleet whose document has AccuracyLimits. Beside the limits it asks a route without one.
func (c Cell) Play(ctx context.Context, f *Fleet, seed uint64) []Row {
	clients := make([]int, max(1, c.Clients))
	for i := range clients {
		clients[i] = i
	}
	streams := []Stream{{Route: f.Free(), PerSecond: freePerSecond, Clients: clients, For: c.For, Skew: c.Skew}}
	for _, i := range c.Limits {
		rate := AccuracyLimits[i].Rule.Rate * c.Load * float64(len(clients))
		streams = append(streams, Stream{Route: i, PerSecond: rate, Clients: clients, For: c.For, Skew: c.Skew})
	}
	before := f.Store.Scripts()
	h := f.Send(ctx, Poisson(seed, len(f.Gateways), streams...))
	scripts := f.Store.Scripts() - before
	free := h.Route(f.Free())
	took := free.times(Request.Took)
	var rows []Row
	for _, i := range c.Limits {
		row := Row{c, AccuracyLimits[i], Judge(AccuracyLimits[i].Rule, h.Route(i))}
		row.FreeP50, row.FreeP99 = Quantile(took, .5), Quantile(took, .99)
		row.Busy = h.Busy(f.Free())
		row.Calls = float64(scripts) / float64(max(1, len(h)-len(free)))
		rows = append(rows, row)
	}
	return rows
}
