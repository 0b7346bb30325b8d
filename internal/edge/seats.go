package edge

import (
	"net/netip"
	"sync"
	"time"
)

// seats bound the connections of the port, over both protocols. Who finds none is closed without an answer: under an attack
// an answer costs more than it helps, and in TLS it would need a handshake.
type seats struct {
	mu      sync.Mutex
	taken   int
	per     map[netip.Addr]int
	max     int
	maxPer  int // 0: no limit
	refused int // since the last time somebody was told
	toldAt  time.Time
}

// take gives a seat. told is how many were refused when it is time to say so, else 0.
func (s *seats) take(addr netip.Addr, now time.Time) (ok bool, told int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= s.max || s.maxPer > 0 && s.per[addr] >= s.maxPer {
		s.refused++
		if now.Sub(s.toldAt) > time.Minute {
			told, s.refused, s.toldAt = s.refused, 0, now
		}
		return false, told
	}
	s.taken++
	if s.maxPer > 0 {
		s.per[addr]++
	}
	return true, 0
}

func (s *seats) give(addr netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if s.maxPer > 0 {
		if s.per[addr]--; s.per[addr] <= 0 {
			delete(s.per, addr)
		}
	}
}
