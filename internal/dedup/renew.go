package dedup

import (
	"context"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// renewal extends the lease of a call that outlives half of it. Ordinary calls end before and never need it; one that was
// paused beyond its lease says by it that it is still there.
type renewal struct {
	records *Records
	key     record.Key
	token   record.Token
	lease   time.Duration

	mu    sync.Mutex // held while a renewal runs: stop waits for it
	timer *time.Timer
	ended bool
}

func (r *Records) renew(key record.Key, token record.Token, lease time.Duration) *renewal {
	n := &renewal{records: r, key: key, token: token, lease: lease}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.timer = time.AfterFunc(lease/2, n.run)
	return n
}

// stop ends the renewals; none runs afterwards.
func (n *renewal) stop() {
	if n == nil || n.timer.Stop() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended = true
	n.timer.Stop()
}

func (n *renewal) run() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), beginTimeout)
	defer cancel()
	renewed, err := n.records.store.Renew(ctx, n.key, n.token, n.lease)
	switch {
	case err != nil:
		n.timer.Reset(max(n.lease/10, retryFirst))
	case renewed:
		n.timer.Reset(n.lease / 3)
	}
}
