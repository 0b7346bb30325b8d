package keyset

import (
	"errors"
	"sync/atomic"
)

// Set is an immutable list of keys of one issuer.
type Set struct {
	Serial uint64 // differs from set to set in one process
	keys   []*Key
}

var serial atomic.Uint64

// newSet drops every key whose id another, different key of the same kind has as well: which of the two is meant can't be
// known. The same key twice counts once.
func newSet(keys []*Key) (*Set, error) {
	kept := make([]*Key, 0, len(keys))
	for i, k := range keys {
		if !ambiguous(keys, i) {
			kept = append(kept, k)
		}
	}
	if len(kept) == 0 {
		return nil, errors.New("no usable key")
	}
	return &Set{Serial: serial.Add(1), keys: kept}, nil
}

func ambiguous(keys []*Key, at int) bool {
	k := keys[at]
	for i, other := range keys {
		if i == at || other.ID != k.ID {
			continue
		}
		if other.fingerprint == k.fingerprint {
			if i < at {
				return true
			}
			continue
		}
		if k.ID != "" && other.Algorithm.Family == k.Algorithm.Family {
			return true
		}
	}
	return false
}

// Len is the number of keys.
func (s *Set) Len() int { return len(s.keys) }

// Find gives the key for a token's header, or nil. Nothing is ever tried in turn:
//   - with a kid: the key of that id and algorithm; if no key has that id, the only key without an id of that algorithm
//   - without: the only key of the set; or, among several, the only one without an id of that algorithm
func (s *Set) Find(kid string, named bool, a *Algorithm) *Key {
	if !named {
		if len(s.keys) == 1 {
			return only(s.keys[0], a)
		}
		return s.nameless(a)
	}
	for _, k := range s.keys {
		if k.ID == kid && k.ID != "" && k.Algorithm == a {
			return k
		}
	}
	if s.Has(kid) {
		return nil
	}
	return s.nameless(a)
}

// Has reports whether a key has that id.
func (s *Set) Has(kid string) bool {
	for _, k := range s.keys {
		if k.ID == kid && kid != "" {
			return true
		}
	}
	return false
}

// Nameless reports whether the set holds keys without an id.
func (s *Set) Nameless() bool {
	for _, k := range s.keys {
		if k.ID == "" {
			return true
		}
	}
	return false
}

func (s *Set) nameless(a *Algorithm) (found *Key) {
	for _, k := range s.keys {
		if k.ID != "" || k.Algorithm != a {
			continue
		}
		if found != nil {
			return nil
		}
		found = k
	}
	return found
}

func only(k *Key, a *Algorithm) *Key {
	if k.Algorithm == a {
		return k
	}
	return nil
}

// Same reports whether two sets hold the same keys in the same order; nil equals nil.
func (s *Set) Same(other *Set) bool {
	if s == nil || other == nil {
		return s == other
	}
	if len(s.keys) != len(other.keys) {
		return false
	}
	for i, k := range s.keys {
		if k.fingerprint != other.keys[i].fingerprint {
			return false
		}
	}
	return true
}

// succeed makes s the follower of old: keys that stayed keep their identity, so that what they verified stays good; the
// others of old are retired.
func (s *Set) succeed(old *Set) {
	if old == nil {
		return
	}
	for _, before := range old.keys {
		stayed := false
		for i, k := range s.keys {
			if k.fingerprint == before.fingerprint {
				s.keys[i], stayed = before, true
				break
			}
		}
		if !stayed {
			before.retired.Store(true)
		}
	}
}
