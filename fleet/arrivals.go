package fleet

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

// Arrival is one request to be sent.
type Arrival struct {
	Due                    time.Duration
	Gateway, Client, Route int
}

// Stream is a kind of traffic: requests of some clients to one route.
type Stream struct {
	Route     int
	PerSecond float64       // of all clients together
	Clients   []int         // who sends, each as often
	From, For time.Duration // when
	Skew      float64       // share of the first gateway; 0 spreads evenly
}

// Poisson draws the arrivals of streams: exponential gaps, as of many independent callers.
func Poisson(seed uint64, gateways int, streams ...Stream) []Arrival {
	var all []Arrival
	for i, s := range streams {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		for due := s.gap(rng); due < s.For; due += s.gap(rng) {
			all = append(all, Arrival{Due: s.From + due, Gateway: s.gateway(rng, gateways), Client: s.Clients[rng.IntN(len(s.Clients))], Route: s.Route})
		}
	}
	return inOrder(all)
}

func inOrder(all []Arrival) []Arrival {
	slices.SortStableFunc(all, func(a, b Arrival) int { return cmp.Compare(a.Due, b.Due) })
	return all
}

func (s Stream) gap(rng *rand.Rand) time.Duration {
	return time.Duration(rng.ExpFloat64() / s.PerSecond * float64(time.Second))
}

func (s Stream) gateway(rng *rand.Rand, n int) int {
	if n == 1 || s.Skew == 0 {
		return rng.IntN(n)
	}
	if rng.Float64() < s.Skew {
		return 0
	}
	return 1 + rng.IntN(n-1)
}

// Burst has n requests of a client due at one moment, in turn over the gateways.
func Burst(at time.Duration, n, gateways, route, client int) []Arrival {
	all := make([]Arrival, n)
	for i := range all {
		all[i] = Arrival{Due: at, Gateway: i % gateways, Client: client, Route: route}
	}
	return all
}
