package redis

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

//go:embed lua/erased.lua
var erasedSource string

// What a gateway remembers for a primary that changes must not bring back what another one erased. So an erasure is announced
// in Redis; every gateway hears of it within a second, and always before it asserts anything.
const (
	announced     = 2 * recentTime // by then everybody has heard of it, or remembers nothing of that time
	announcedMost = 1024
)

// erasure is one that this gateway has heard of.
type erasure struct {
	instant int64     // on Redis' clock: another one is another erasure
	at      time.Time // when we heard of it
}

// announce is the first step of an erasure. Without it nothing is erased.
func (s *Store) announce(ctx context.Context, subject record.Subject) error {
	n := s.fleet.keeper()
	if n == nil {
		return refuse("erase: %w", errNoPrimary)
	}
	value, acked, err := n.send(ctx, []any{"eval", erasedSource, 1, s.names.erased(), subject[:], announced.Milliseconds(), announcedMost},
		s.cfg.WaitReplicas, false)
	if err != nil {
		return failed("erase", err)
	}
	instant, ok := value.(int64)
	switch {
	case !ok:
		return errStrange("erased", value)
	case acked < s.cfg.WaitReplicas:
		return fmt.Errorf("dedup: redis: erase: %w", errShort)
	}
	s.guard.recent.erase(subject, instant)
	return nil
}

// heard takes note of the erasures that are announced.
func (s *Store) heard(list []goredis.Z) {
	for _, z := range list {
		if raw, ok := z.Member.(string); ok && len(raw) == len(record.Subject{}) {
			s.guard.recent.erase(record.Subject([]byte(raw)), int64(z.Score))
		}
	}
}

// erase forgets what results say of a subject, once for each erasure: later ones are kept.
func (r *recent) erase(subject record.Subject, instant int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, heard := r.erased[subject]; heard && last.instant == instant {
		return
	}
	r.erased[subject] = erasure{instant, r.now()}
	for e := r.order.Front(); e != nil; e = e.Next() {
		if d := e.Value.(*deed); d.result != nil && d.result.Subject == subject {
			r.bytes -= d.size()
			e.Value = d.bare()
		}
	}
}

// overtaken tells that the subject of a result was erased while it was stored: nobody knows which came first.
func (r *recent) overtaken(d *deed) bool {
	if d.result == nil {
		return false
	}
	last, heard := r.erased[d.result.Subject]
	return heard && !d.since.After(last.at)
}

// bare is a result without what it says of its subject.
func (d *deed) bare() *deed {
	sealed := *d.result
	if sealed.State == record.Completed {
		sealed.State = record.Sealed
	}
	sealed.Answer, sealed.RequestID, sealed.Location = nil, "", ""
	return &deed{attempt: d.attempt, when: d.when, result: &sealed, since: d.since}
}

// dropErasures drops those that are announced no more.
func (r *recent) dropErasures(now time.Time) {
	for subject, e := range r.erased {
		if now.Sub(e.at) > 2*announced {
			delete(r.erased, subject)
		}
	}
}
