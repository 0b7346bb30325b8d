package ratelimit

import (
	"context"
	"errors"
)

// inOrder leaves out what is named twice, and puts the kind Slots last: a place is taken when everything else is decided.
func inOrder(limits []*Limit) []*Limit {
	var first, last []*Limit
	seen := map[string]bool{}
	for _, l := range limits {
		switch {
		case seen[l.name]:
		case l.kind == Slots:
			last = append(last, l)
		default:
			first = append(first, l)
		}
		seen[l.name] = true
	}
	return append(first, last...)
}

var errNoSeats = errors.New("nobody counts requests in flight")

type noSeats struct{}

func (noSeats) Acquire(context.Context, []Charge) (bool, error) { return false, errNoSeats }
func (noSeats) Release([]Charge)                                {}
