package chaos

import "time"

// Points are the kill points of package failpoint that every store comes by.
var Points = []string{"K1", "K2", "K3", "K4", "K5", "K6", "K7", "K8", "K9", "K10", "K11", "K12"}

// StartPoints are those that only the embedded store comes by.
var StartPoints = []string{"K13c", "K13d", "K13e"}

// Sweep and Reconcile need routes of their own.
const (
	sweepPoint     = "K13a"
	reconcilePoint = "K13b"
)

// AloneFaults are those of a Redis without replicas.
var AloneFaults = []string{RedisKill, RedisPause, RedisScripts, ProxyCut, ProxyStall, ProxyAsk, ProxyTell, ProxyDelay}

// FleetFaults are those of a Redis with replicas.
var FleetFaults = []string{FailoverKill, FailoverOrder, FailoverSever, ReplicaPause, FailoverPause}

// turn picks the n-th, in turns.
func turn[T any](list []T, n int) T { return list[n%len(list)] }

// ShortCells are some of every kind, for each change.
func ShortCells() (cells []Cell) {
	embedded, alone := Embedded(1), RedisAlone(2, "always")
	for i, p := range append(append([]string{}, Points...), StartPoints...) {
		cells = append(cells, paced(Cell{Point: p, Topology: embedded, Behaviour: turn(Behaviours, i).Name, Habit: turn(Habits, i)}))
	}
	for i, b := range Behaviours {
		cells = append(cells, Cell{Topology: Embedded(2), Faults: []string{KillGateway, StopGateway}, Behaviour: b.Name, Habit: turn(Habits, i+1), Ops: 96})
	}
	for i, p := range Points {
		cells = append(cells, Cell{Point: p, Topology: alone, Behaviour: turn(Behaviours, i+2).Name, Habit: turn(Habits, i+1)})
	}
	for i, f := range AloneFaults {
		cells = append(cells, Cell{Topology: alone, Faults: []string{f}, Rounds: 3, Behaviour: turn(Behaviours, i).Name, Habit: turn(Habits, i)})
	}
	return append(cells,
		paced(Cell{Point: sweepPoint, Topology: embedded, Route: RouteBrief, Behaviour: "ok", Habit: Sequential}),
		paced(Cell{Point: reconcilePoint, Topology: embedded, Route: RouteAsked, Behaviour: "dies", Habit: Sequential}),
		Cell{Topology: embedded, Faults: []string{KillGateway}, Route: RouteDedup, Behaviour: "dies", Habit: Storm},
		Cell{Topology: alone, Faults: []string{KillGateway}, Route: RouteDedup, Behaviour: "dies", Habit: Elsewhere},
		Cell{Topology: alone, Faults: []string{KillGateway}, Route: RouteAsked, Behaviour: "dies", Habit: Elsewhere},
		Cell{Topology: alone, Faults: []string{StopLonger}, Rounds: 1, Behaviour: "slow", Habit: Elsewhere, Pace: 50 * time.Millisecond},
	)
}

// paced gives a cell the time that its place needs.
func paced(c Cell) Cell {
	switch {
	case c.Point == "K13e":
		c.Pace, c.Ops = 250*time.Millisecond, 240
	case c.Point == "K13c":
		c.Pace, c.Ops, c.Behaviour = 20*time.Millisecond, 120, Lingers.Name // kills have to meet something in flight
	case c.atStart():
		c.Pace, c.Ops = 250*time.Millisecond, 96
	case c.Point == sweepPoint:
		c.Pace, c.Ops = 5*time.Second, 48 // a claim's key is over after 25 s, and the sweeper comes every 10 s
	case c.Point == reconcilePoint:
		c.Pace, c.Ops = time.Second, 60
	}
	return c
}

// FullCells are the whole matrix.
func FullCells() (cells []Cell) {
	for _, top := range []Topology{Embedded(2), RedisAlone(3, "always"), RedisAlone(3, "everysec"), RedisSentinel(2, true), RedisCluster(2, true)} {
		points := append([]string{""}, Points...)
		if !top.Shared {
			points = append(points, StartPoints...)
		}
		for _, p := range points {
			for i, b := range Behaviours {
				for _, h := range Habits {
					if p == "K13c" && i > 0 {
						continue // it has an upstream of its own
					}
					cells = append(cells, paced(top.faulty(Cell{Point: p, Topology: top, Behaviour: b.Name, Habit: h})))
				}
			}
		}
	}
	return cells
}

// faulty gives a cell without a kill point the faults of its topology.
func (top Topology) faulty(c Cell) Cell {
	if c.Point != "" {
		return c
	}
	c.Faults = []string{KillGateway, StopGateway, StopAll}
	switch {
	case !top.Shared:
	case top.Replicas:
		c.Faults = append(c.Faults, FleetFaults...)
	default:
		c.Faults = append(c.Faults, AloneFaults...)
	}
	c.Rounds = len(c.Faults)
	return c
}

// FailoverCells are n failovers of each kind of fleet, some in each cell. Those without waits are the positive control: they
// have to lose something, and a quarter of the failovers is enough for that.
func FailoverCells(n int) (cells []Cell) {
	const each = 10
	all := n
	for i, top := range []Topology{RedisSentinel(2, false), RedisSentinel(2, true), RedisCluster(2, true)} {
		n := all
		if i == 0 {
			n = min(all, max(20, all/4))
		}
		for done := 0; done < n; done += each {
			faults := []string{FailoverBoth, FailoverKill, FailoverSever, FailoverOrder, FailoverPause}
			cells = append(cells, Cell{
				Topology: top, Faults: faults, Rounds: min(each, n-done), Behaviour: turn(Behaviours, done/each+i).Name,
				Habit: turn(Habits, done/each), Pace: 10 * time.Millisecond, Suffix: done / each,
			})
		}
	}
	return cells
}
