// Package balance picks one of several targets.
//
// It promises that a pick allocates nothing, takes no lock and looks at a few targets only, however many there are; that what
// is not usable or was tried already is not picked while something else is there; and that with hash a key leaves its target
// only when that target goes, is full, or another one takes its share. It knows neither addresses nor why a target is not
// usable: the caller says so in a View. It stores nothing that could fail.
package balance

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Kind is how a target is picked.
type Kind uint8

// The kinds.
const (
	RoundRobin   Kind = iota // in turn, by weight, heavy ones spread over the round
	LeastRequest             // of two at random the one with fewer calls in flight for its weight
	EWMA                     // of two at random the one that would be done sooner
	Hash                     // the same key to the same target
)

var kinds = map[string]Kind{"round_robin": RoundRobin, "least_request": LeastRequest, "ewma": EWMA, "hash": Hash}

// KindOf reads the word of the document; unknown words are RoundRobin.
func KindOf(word string) Kind { return kinds[word] }

// Seat is a target's place in a set. ID is the same wherever and whenever the target stands in a set.
type Seat struct {
	ID     string
	Weight int // at least 1
	Load   *Load
}

// Set is the targets of an upstream. It does not change, apart from the turn.
type Set struct {
	kind  Kind
	seats []Seat
	turn  *atomic.Uint64
	total *atomic.Int64 // calls in flight at all targets
	round []uint16
	table []uint16
	rand  func() uint64
}

// New works out the tables of a set. total counts the calls in flight at all of its targets; only Hash reads it.
func New(kind Kind, seats []Seat, total *atomic.Int64) *Set {
	s := &Set{kind: kind, seats: seats, turn: new(atomic.Uint64), total: total, rand: rand.Uint64}
	switch kind {
	case RoundRobin:
		s.round = newRound(seats)
	case Hash:
		s.table = newTable(seats)
	}
	return s
}

// Kind tells how the set picks.
func (s *Set) Kind() Kind { return s.kind }

// Tried is the targets of a set that a request need not meet again.
type Tried = pipeline.Tried

// Pick gives the index of the target that is to be called: a usable one that was not tried; -1 when there is none. key is read
// by Hash only.
func (s *Set) Pick(v *View, tried *Tried, key uint64, now int64) int {
	switch len(v.usable) {
	case 0:
		return -1
	case 1:
		return s.scan(v, tried, 0)
	}
	switch s.kind {
	case RoundRobin:
		return s.inTurn(v, tried)
	case Hash:
		return s.byKey(v, tried, key)
	}
	return s.betterOfTwo(v, tried, now)
}

// scan gives the first usable target that was not tried, from a place on.
func (s *Set) scan(v *View, tried *Tried, from uint64) int {
	n := uint64(len(v.usable))
	for i := range n {
		if at := int(v.usable[(from+i)%n]); !tried.Has(at) {
			return at
		}
	}
	return -1
}

// sample gives a target at random, by weight.
func (v *View) sample(r uint64) int {
	i := int((r >> 32) * uint64(len(v.usable)) >> 32)
	if uint32(r) >= v.keep[i] {
		i = int(v.other[i])
	}
	return int(v.usable[i])
}

// alike is how much dearer an idle target may be and still be as good as another.
const alike = 1.25

// draws bounds how often chance is asked before all targets are gone through.
const draws = 8

// another samples a target that was not tried and is not the one given; -1 when there is none. All draws come from one random
// number.
func (s *Set) another(v *View, tried *Tried, than int, r uint64) int {
	for range draws {
		if i := v.sample(r); i != than && !tried.Has(i) {
			return i
		}
		r = mix(r + 1)
	}
	n := uint64(len(v.usable))
	for i := range n {
		if at := int(v.usable[(r%n+i)%n]); at != than && !tried.Has(at) {
			return at
		}
	}
	return -1
}

// betterOfTwo is power of two choices (Mitzenmacher 2001) with two different targets. They are drawn by weight, and weight
// counts again in what they are compared by: that is what keeps calls in flight in proportion to it. When both are idle and
// about as good, the first stays, so that at low load weights hold as well.
func (s *Set) betterOfTwo(v *View, tried *Tried, now int64) int {
	r := s.rand()
	a := s.another(v, tried, -1, r)
	if a < 0 {
		return -1
	}
	b := s.another(v, tried, a, mix(r+2))
	if b < 0 {
		return a
	}
	la, lb := s.seats[a].Load, s.seats[b].Load
	fa, fb := float64(la.InFlight()), float64(lb.InFlight())
	costA, costB := 1.0, 1.0
	if s.kind == EWMA {
		costA, costB = la.cost(v.usual, now), lb.cost(v.usual, now)
	} else {
		costA, costB = la.blame(now), lb.blame(now)
	}
	wa, wb := float64(v.share[a]), float64(v.share[b])
	if fa == 0 && fb == 0 {
		wa, wb = 1, 1
		costB *= alike
	}
	if (fb+1)*costB*wa < (fa+1)*costA*wb {
		return b
	}
	return a
}
