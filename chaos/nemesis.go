package chaos

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/oncegate/oncegate/internal/redistest"
)

// The faults that need no store; a topology's store has more.
const (
	KillGateway = "kill"  // kill -9 of one gateway
	StopGateway = "stop"  // a pause shorter than a deadline
	StopLonger  = "lease" // a pause beyond the lease
	StopAll     = "all"   // kill -9 of all gateways at once
)

// harm does the cell's faults in turns until stop is closed.
func (w *work) harm(stop <-chan struct{}) error {
	r := rand.New(rand.NewPCG(w.seed, 2))
	todo := w.cell.Faults
	if w.cell.atStart() {
		todo = []string{KillGateway}
	}
	most := 20
	if w.cell.Rounds > 0 {
		most = w.cell.Rounds
	}
	for i := 0; len(todo) > 0 && i < most; i++ {
		if !wait(time.Duration(150+r.IntN(400))*time.Millisecond, stop) {
			return nil
		}
		if err := w.disturb(todo[i%len(todo)], r, stop); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) disturb(name string, r *rand.Rand, stop <-chan struct{}) error {
	gateways := w.fleet.Gateways
	one := gateways[r.IntN(len(gateways))]
	switch name {
	case KillGateway:
		if w.cell.atStart() {
			one = gateways[0]
		}
		one.Kill()
	case StopAll:
		for _, g := range gateways {
			g.Kill()
		}
	case StopGateway:
		one.Stop(time.Duration(100+r.IntN(600))*time.Millisecond, nil)
	case StopLonger:
		one.Stop(Lease+time.Second, nil)
	case FailoverBoth:
		s, ok := w.fleet.Store.(*fleetStore)
		if !ok {
			return fmt.Errorf("topology %s has no failover", w.cell.Topology.Name)
		}
		return s.failover(name, func(primary *redistest.Server) {
			s.sever(primary)
			for _, g := range gateways {
				g.Kill() // they would tell the new primary what it lacks
			}
		})(w.history, stop)
	default:
		f := w.fleet.Store.Faults()[name]
		if f == nil {
			return fmt.Errorf("topology %s knows no fault %q", w.cell.Topology.Name, name)
		}
		return f(w.history, stop)
	}
	return nil
}

// failovers is how many the store went through.
func (w *work) failovers() int {
	if f, has := w.fleet.Store.(interface{ Failovers() int }); has {
		return f.Failovers()
	}
	return 0
}
