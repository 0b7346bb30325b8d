package ratelimit

import "hash/maphash"

func (m *Memory) hash(charges []Charge) {
	for i := range charges {
		charges[i].policy = nil
		charges[i].hash = notZero(maphash.Bytes(m.seed, charges[i].Key))
	}
}

// notZero keeps a hash in its shard but off the mark of an empty slot.
func notZero(hash uint64) uint64 {
	if hash == 0 {
		return shards
	}
	return hash
}

func (m *Memory) shard(hash uint64) *shard { return &m.shards[hash&(shards-1)] }

// hold finds the policies and takes the locks. A policy that was dropped in between is found anew.
func (m *Memory) hold(charges []Charge) {
	for {
		m.resolve(charges)
		m.lock(charges)
		if !anyGone(charges) {
			return
		}
		m.unlock(charges)
	}
}

func anyGone(charges []Charge) bool {
	for i := range charges {
		if charges[i].policy.gone {
			return true
		}
	}
	return false
}

// lock takes the locks of all charges, each once, in the order of the shards: two requests can't wait for each other.
func (m *Memory) lock(charges []Charge) {
	if len(charges) == 1 {
		m.shard(charges[0].hash).Lock()
		return
	}
	for last := nextShard(charges, -1); last < shards; last = nextShard(charges, last) {
		m.shards[last].Lock()
	}
}

func (m *Memory) unlock(charges []Charge) {
	if len(charges) == 1 {
		m.shard(charges[0].hash).Unlock()
		return
	}
	for last := nextShard(charges, -1); last < shards; last = nextShard(charges, last) {
		m.shards[last].Unlock()
	}
}

// nextShard is the lowest shard above last that a charge needs, or shards. Routes have few limits: no sorting.
func nextShard(charges []Charge, last int) int {
	next := shards
	for i := range charges {
		if s := int(charges[i].hash & (shards - 1)); s > last && s < next {
			next = s
		}
	}
	return next
}
