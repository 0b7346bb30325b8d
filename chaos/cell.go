package chaos

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Cell is one combination of the matrix.
type Cell struct {
	Point     string   // where gateways end themselves; "": nowhere
	Faults    []string // what the nemesis does, by name, in turns
	Topology  Topology
	Behaviour string
	Habit     Habit
	Route     string        // "" is /w
	Ops       int           // operations at least; 0: 48
	Rounds    int           // faults; the work goes on until they are done. 0: as many as the work leaves time for
	Workers   int           // clients at once; 0: the usual number
	Pace      time.Duration // between two operations of a client
	Rest      time.Duration // between the work and the last questions
	Tags      string        // of the gateway's build besides failpoint
	Suffix    int           // tells cells apart that are otherwise the same
}

// Name is what replays the cell.
func (c Cell) Name() string {
	point := c.Point
	if point == "" {
		point = "none"
	}
	for _, f := range c.Faults {
		point += "+" + f
	}
	route := c.Route
	if route == "" {
		route = "w"
	}
	name := fmt.Sprintf("%s/%s/%s/%s/%s", c.Topology.Name, point, c.Behaviour, c.Habit, route)
	if c.Suffix > 0 {
		name += fmt.Sprintf("/%d", c.Suffix)
	}
	return name
}

// Outcome is what a cell came to.
type Outcome struct {
	Cell    Cell
	Seed    uint64
	Verdict Verdict
	Calls   int
	Kills   int
	Points  int // kills by the cell's own failpoint
	Stops   int
	Stores  int // disturbances of the store
	Fails   int // failovers among them
	Known   int // claims that the gateways counted as lost
	Took    time.Duration
	Dir     string
}

const (
	workers  = 6
	kills    = 3 // by failpoint, in one cell
	readyFor = 20 * time.Second
)

// RunCell runs a cell and checks it. The folder dir keeps everything. An error is the harness's own.
func RunCell(t testing.TB, binary string, cell Cell, seed uint64, dir string) (out Outcome, err error) {
	out = Outcome{Cell: cell, Seed: seed, Dir: dir}
	begun := time.Now()
	r := rand.New(rand.NewPCG(seed, 1))
	h, err := NewHistory(filepath.Join(dir, "history.jsonl"))
	if err != nil {
		return out, err
	}
	route := cell.Route
	if route == "" {
		route = "w"
	}
	fleet, err := StartFleet(t, dir, binary, cell.Topology, route, h, cell.arms(r))
	defer func() {
		if fleet != nil {
			fleet.Down()
		}
	}()
	if err != nil {
		return out, err
	}
	if p, fails := fleet.Store.(interface{ Patient(time.Duration) }); fails && !cell.failsOver() {
		p.Patient(calm)
	}
	client, err := NewClient(fleet.Addresses(), !cell.Topology.Shared, h, principals)
	if err != nil {
		return out, err
	}
	w := work{cell: cell, fleet: fleet, client: client, history: h, seed: seed, route: route}
	if err := w.run(r); err != nil {
		return out, err
	}
	if out.Verdict, err = w.judge(); err != nil {
		return out, err
	}
	fleet = nil // judge has ended it
	out.Calls, out.Kills = int(client.n.Load()), h.Count(FaultKill)
	out.Stops, out.Stores, out.Fails = h.Count(FaultStop), h.Count(FaultStore), w.failovers()
	out.Points, out.Known = w.points, w.known
	out.Took = time.Since(begun)
	return out, h.Close()
}

// calm is how long a Redis fleet waits before it fails over by itself, in cells that have no failover: a busy machine that stands
// still for a second is no fault that the cell is about, and nobody would know the time in which something was lost.
const calm = 30 * time.Second

func (c Cell) failsOver() bool {
	return slices.ContainsFunc(c.Faults, func(f string) bool { return slices.Contains(FleetFaults, f) || f == FailoverBoth })
}

// arms are the failpoints of the first gateway's starts. Places that only a start comes by are skipped by the first one.
func (c Cell) arms(r *rand.Rand) (all []string) {
	if c.Point == "" {
		return nil
	}
	if c.atStart() {
		plain := 1
		if c.Point == "K13e" {
			plain = 6 // each start leaves a table; it takes some for a compaction
		}
		for range kills {
			all = append(append(all, make([]string, plain)...), c.Point+"@1")
		}
		return all
	}
	for range kills {
		all = append(all, c.Point+"@"+strconv.Itoa(1+r.IntN(8)))
	}
	return all
}

// atStart tells places that are met when a gateway starts on what an earlier run left.
func (c Cell) atStart() bool { return c.Point == "K13c" || c.Point == "K13d" || c.Point == "K13e" }

// work is a cell that runs.
type work struct {
	cell    Cell
	fleet   *Fleet
	client  *Client
	history *History
	seed    uint64
	route   string
	points  int
	known   int // claims that the gateways know to be lost
	peaks   peaks
	ops     []Op
}

// next draws the n-th operation. Neighbours use the same key with the same body under different names.
func (w *work) next(r *rand.Rand, n int) (ops []Op) {
	s := behaviour(w.cell.Behaviour).draw(r)
	s.Op = fmt.Sprintf("op%d", n)
	s.Dedup = w.route == RouteDedup
	for j := range 1 + r.IntN(2) {
		ops = append(ops, Op{Slot{w.route, principals[(n+j)%len(principals)], fmt.Sprintf("key-%d", n)}, s})
	}
	return ops
}

var principals = []string{"alice", "bob", "carol"}

// run has the clients work while the nemesis does harm, heals, waits and asks for every key once more.
func (w *work) run(r *rand.Rand) error {
	if w.cell.Point == "" {
		for _, g := range w.fleet.Gateways {
			if err := g.Ready(readyFor); err != nil {
				return err
			}
		}
	}
	stop, ended, seen := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(seen)
		w.peaks.watch(w.fleet.Gateways, stop)
	}()
	harm := errors.New("the nemesis was ended by its own test")
	go func() {
		defer close(ended) // also when redistest ends the goroutine
		harm = w.harm(stop)
	}()
	w.each(w.produce(r, ended), func(op Op, r *rand.Rand) {
		w.client.Run(op, w.cell.Habit, r, nil)
		wait(w.cell.Pace, nil)
	})
	close(stop)
	<-ended
	<-seen
	w.points = w.fleet.Gateways[0].Points()
	if err := w.fleet.Heal(readyFor); err != nil {
		return errors.Join(harm, err)
	}
	wait(w.cell.Rest, nil)
	if w.route != RouteBrief {
		w.settle()
	}
	return harm
}

// produce gives operations until there are enough of them and, where it has rounds to do, the nemesis has ended.
func (w *work) produce(r *rand.Rand, ended <-chan struct{}) <-chan Op {
	most := w.cell.Ops
	if most == 0 {
		most = 48
	}
	out := make(chan Op)
	go func() {
		defer close(out)
		for n := 0; ; n++ {
			for _, op := range w.next(r, n) {
				w.ops = append(w.ops, op)
				out <- op
			}
			if len(w.ops) < most {
				continue
			}
			select {
			case <-ended:
				return
			default:
				if w.cell.Rounds == 0 {
					return
				}
			}
		}
	}()
	return out
}

// each runs f for every operation, some at once.
func (w *work) each(ops <-chan Op, f func(Op, *rand.Rand)) {
	var group sync.WaitGroup
	for worker := range cmp.Or(w.cell.Workers, workers) {
		r := rand.New(rand.NewPCG(w.seed, 100+uint64(worker)))
		group.Go(func() {
			for op := range ops {
				f(op, r)
			}
		})
	}
	group.Wait()
}

// settle asks for every key until it has come to an end; leases may have to run out first.
func (w *work) settle() {
	limit := time.Now().Add(Lease + 10*time.Second)
	ops := make(chan Op, len(w.ops))
	for _, op := range w.ops {
		ops <- op
	}
	close(ops)
	w.each(ops, func(op Op, r *rand.Rand) {
		for {
			call := w.client.Ask(op, "", w.client.gateway(op.Slot, r), true)
			m := call.Means()
			pending := m == Undetermined && w.route == RouteAsked
			if (m != Running && m != Nothing && m != Refused && m != Freed && !pending) || time.Now().After(limit) {
				return
			}
			wait(time.Duration(200+r.IntN(300))*time.Millisecond, nil)
		}
	})
}

// judge ends the fleet, reads what everybody wrote down, and checks it.
func (w *work) judge() (Verdict, error) {
	bounds := w.bounds()
	w.fleet.Down()
	run := Run{Bounds: bounds, Rules: Rules{
		UpstreamDedup: w.route == RouteDedup, Reconciler: w.route == RouteAsked, Expires: w.route == RouteBrief,
	}}
	var err error
	if run.Ledger, err = ReadLedger(w.fleet.Ledger); err != nil {
		return Verdict{}, err
	}
	run.Calls, run.Faults = w.history.Snapshot()
	if l, loses := w.fleet.Store.(interface{ MayLose([]Call) map[Slot][]int64 }); loses {
		run.Rules.MayLose = l.MayLose(run.Calls)
	}
	if run.Dump, err = w.dump(); err != nil {
		return Verdict{}, err
	}
	return Check(run), nil
}

func (w *work) dump() (all []Record, err error) {
	if w.route == RouteBrief {
		return nil, nil
	}
	if d, dumps := w.fleet.Store.(interface{ Dump() ([]Record, error) }); dumps {
		return d.Dump()
	}
	if _, embedded := w.fleet.Store.(embeddedStore); !embedded {
		return nil, nil
	}
	for i := range w.fleet.Gateways {
		some, err := DumpEmbedded(filepath.Join(w.fleet.Dir, fmt.Sprintf("g%d", i)))
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// Forget removes what a cell left.
func (o Outcome) Forget() { _ = os.RemoveAll(o.Dir) }
