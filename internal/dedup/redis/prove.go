package redis

import (
	"context"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// maxProofs bounds what waits to be marked; beyond it the next replay proves its result again.
const maxProofs = 1024

type proof struct {
	key   record.Key
	token record.Token
}

// proven has a result marked as seen on replicas, so that later replays neither write nor wait.
func (s *Store) proven(key record.Key, token record.Token) {
	select {
	case s.proofs <- proof{key, token}:
	default:
	}
}

func (s *Store) proveLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-s.proofs:
			o := s.op(s.scripts.prove, p.key, p.token[:])
			o.wait = false
			bounded, cancel := within(ctx, time.Second)
			_, _ = s.call(bounded, o) // without the mark the next replay proves it again
			cancel()
		}
	}
}
