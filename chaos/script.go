package chaos

import (
	"math/rand/v2"
	"time"
)

// Script is the body of a write: what the upstream shall do with it.
type Script struct {
	Op     string `json:"op"`
	Delay  int    `json:"delay,omitempty"`  // milliseconds before the effect
	After  int    `json:"after,omitempty"`  // milliseconds between the effect and the answer
	Die    string `json:"die,omitempty"`    // see the constants
	Status int    `json:"status,omitempty"` // of the answer, 201 by default
	Times  int    `json:"times,omitempty"`  // so many arrivals get Status and Die; later ones 201. 0: all
	Size   int    `json:"size,omitempty"`   // bytes of padding in the answer
	Stream bool   `json:"stream,omitempty"` // the answer is an event stream
	Dedup  bool   `json:"dedup,omitempty"`  // one effect per forwarded key
}

// Ways to die.
const (
	DieBefore = "before" // the connection closes before the effect: nothing is executed
	DieAfter  = "after"  // the effect, then the connection closes without an answer
	DieRST    = "rst"    // the effect, the whole answer, then a reset
	DieHalf   = "half"   // the effect, the head and half of the body, then the connection closes
)

// Times of the gateway's document that the checker has to know.
const (
	RouteTimeout = 1500 * time.Millisecond
	Lease        = RouteTimeout + 15*time.Second
	MaxAnswer    = 4 << 10
)

// Ambiguous tells that the upstream's behaviour alone can leave the outcome unknown.
func (s Script) Ambiguous() bool {
	wait := time.Duration(s.Delay+s.After) * time.Millisecond
	return s.Die != "" || s.Status == 502 || s.Status == 504 || wait > RouteTimeout*2/3
}

// Unkept tells that the answer, though final, is declared as one that is not kept.
func (s Script) Unkept() bool { return s.Stream || s.Size > MaxAnswer-512 }

// FreesKey are the statuses that say that nothing was done.
func FreesKey(status int) bool {
	switch status {
	case 401, 407, 408, 421, 425, 429:
		return true
	}
	return false
}

// Behaviour is one kind of upstream. Its name is the cell's.
type Behaviour struct {
	Name   string
	Script func(r *rand.Rand) Script
}

// Behaviours are the upstreams of the matrix.
var Behaviours = []Behaviour{
	{"ok", func(r *rand.Rand) Script { return Script{Delay: r.IntN(8), After: r.IntN(8)} }},
	{"slow", func(r *rand.Rand) Script {
		if r.IntN(3) == 0 {
			return Script{Delay: 50, After: int(RouteTimeout/time.Millisecond) + 500} // past the deadline
		}
		return Script{Delay: 50 + r.IntN(150), After: r.IntN(200)}
	}},
	{"dies", func(r *rand.Rand) Script {
		return Script{Delay: r.IntN(5), Die: []string{DieAfter, DieAfter, DieBefore, DieRST, DieHalf}[r.IntN(5)], Times: 1}
	}},
	{"fails", func(r *rand.Rand) Script {
		s := Script{Status: []int{500, 503, 422, 404, 400, 502, 504, 429, 401}[r.IntN(9)], Delay: r.IntN(5)}
		if FreesKey(s.Status) {
			s.Times = 1 + r.IntN(2)
		}
		return s
	}},
	{"stream", func(r *rand.Rand) Script {
		if r.IntN(2) == 0 {
			return Script{Size: MaxAnswer * (2 + r.IntN(20)), After: r.IntN(5)}
		}
		return Script{Stream: true, Size: 2048, After: r.IntN(20)}
	}},
}

// Lingers is an upstream that takes its time, but not too much: duplicates come while it works.
var Lingers = Behaviour{"lingers", func(r *rand.Rand) Script { return Script{Delay: 600 + r.IntN(300)} }}

func behaviour(name string) Behaviour {
	if name == Lingers.Name {
		return Lingers
	}
	for _, b := range Behaviours {
		if b.Name == name {
			return b
		}
	}
	panic("no behaviour " + name)
}

// draw gives the behaviour's script most of the time, and an ordinary one else.
func (b Behaviour) draw(r *rand.Rand) Script {
	if r.IntN(3) == 0 {
		return Behaviours[0].Script(r)
	}
	return b.Script(r)
}
