package ratelimit

import (
	"context"
	"sync"
)

// Tiers makes one Store of what this process counts and what the fleet counts. Limits that are local never leave the process;
// a request with both kinds is charged at all or at none.
type Tiers struct {
	local  *Memory
	shared Store
	halves sync.Pool
}

// NewTiers composes them. Without a shared store all limits are local.
func NewTiers(local *Memory, shared Store) *Tiers {
	return &Tiers{local: local, shared: shared, halves: sync.Pool{New: func() any { return new(halves) }}}
}

// Take implements Store. What memory alone refuses costs the shared store nothing; what it fails at is not taken anywhere.
func (t *Tiers) Take(ctx context.Context, charges []Charge) (bool, error) {
	n := sharedOf(charges)
	if n == 0 || t.shared == nil {
		return t.local.Take(ctx, charges)
	}
	if n == len(charges) {
		return t.shared.Take(ctx, charges)
	}
	h := t.halves.Get().(*halves)
	defer t.halves.Put(h)
	h.split(charges)
	defer h.join(charges)
	if !t.local.look(h.local) {
		t.look(ctx, h.shared)
		return false, nil
	}
	if allowed, err := t.shared.Take(ctx, h.shared); err != nil || !allowed {
		return false, err
	}
	if allowed, err := t.local.Take(ctx, h.local); allowed || err != nil {
		return allowed, err
	}
	// Another request was faster since the look. The client may be gone by now, its tokens must not be.
	for i := range h.shared {
		h.shared[i].Change = h.shared[i].Cost
	}
	t.shared.Settle(context.WithoutCancel(ctx), h.shared)
	return false, nil
}

// look asks for the outcomes of charges that are not to be taken. The request is refused in any case: an error says no more.
func (t *Tiers) look(ctx context.Context, charges []Charge) {
	for i := range charges {
		charges[i].Change, charges[i].Cost = charges[i].Cost, 0
	}
	_, _ = t.shared.Take(ctx, charges)
	for i := range charges {
		charges[i].Cost = charges[i].Change
	}
}

// Settle implements Store.
func (t *Tiers) Settle(ctx context.Context, charges []Charge) {
	n := sharedOf(charges)
	if n == 0 || t.shared == nil {
		t.local.Settle(ctx, charges)
		return
	}
	if n == len(charges) {
		t.shared.Settle(ctx, charges)
		return
	}
	h := t.halves.Get().(*halves)
	defer t.halves.Put(h)
	h.split(charges)
	defer h.join(charges)
	t.local.Settle(ctx, h.local)
	t.shared.Settle(ctx, h.shared)
}

// SeatTiers makes one Seats of those of this process and those of the fleet.
type SeatTiers struct {
	local, shared Seats
	halves        sync.Pool
}

// NewSeatTiers composes them. Without shared ones all limits are local.
func NewSeatTiers(local, shared Seats) *SeatTiers {
	return &SeatTiers{local: local, shared: shared, halves: sync.Pool{New: func() any { return new(halves) }}}
}

// Acquire implements Seats. It asks this process first; what the fleet refuses is given back.
func (t *SeatTiers) Acquire(ctx context.Context, charges []Charge) (bool, error) {
	n := sharedOf(charges)
	if n == 0 || t.shared == nil {
		return t.local.Acquire(ctx, charges)
	}
	if n == len(charges) {
		return t.shared.Acquire(ctx, charges)
	}
	h := t.halves.Get().(*halves)
	defer t.halves.Put(h)
	h.split(charges)
	defer h.join(charges)
	allowed, err := t.local.Acquire(ctx, h.local)
	if err != nil {
		return false, err
	}
	if !allowed {
		for i := range h.shared { // not asked: nobody but the store knows
			h.shared[i].Admitted, h.shared[i].Level = true, h.shared[i].Limit.burst
		}
		return false, nil
	}
	allowed, err = t.shared.Acquire(ctx, h.shared)
	if err != nil || !allowed {
		t.local.Release(h.local)
		return false, err
	}
	return true, nil
}

// Release implements Seats.
func (t *SeatTiers) Release(charges []Charge) {
	n := sharedOf(charges)
	if n == 0 || t.shared == nil {
		t.local.Release(charges)
		return
	}
	if n == len(charges) {
		t.shared.Release(charges)
		return
	}
	h := t.halves.Get().(*halves)
	defer t.halves.Put(h)
	h.split(charges)
	defer h.join(charges)
	t.local.Release(h.local)
	t.shared.Release(h.shared)
}

func sharedOf(charges []Charge) (n int) {
	for i := range charges {
		if charges[i].Limit.shared {
			n++
		}
	}
	return n
}

// halves is scratch memory: the charges by tier, in the order of the request.
type halves struct{ local, shared []Charge }

func (h *halves) split(charges []Charge) {
	h.local, h.shared = h.local[:0], h.shared[:0]
	for i := range charges {
		if charges[i].Limit.shared {
			h.shared = append(h.shared, charges[i])
		} else {
			h.local = append(h.local, charges[i])
		}
	}
}

// join writes the outcomes back. What was scratch keeps no key and no limit alive.
func (h *halves) join(charges []Charge) {
	local, shared := h.local, h.shared
	for i := range charges {
		from := &local
		if charges[i].Limit.shared {
			from = &shared
		}
		change := charges[i].Change
		charges[i], *from = (*from)[0], (*from)[1:]
		charges[i].Change = change
	}
	clear(h.local)
	clear(h.shared)
}
