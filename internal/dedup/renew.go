package dedup

import (
	"context"
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
	ctx     context.Context
	cancel  context.CancelFunc
	turn    chan struct{} // holds one while no renewal runs
	timer   *time.Timer   // whoever has the turn sets it
}

func (r *Records) renew(key record.Key, token record.Token, lease time.Duration) *renewal {
	n := &renewal{records: r, key: key, token: token, lease: lease, turn: make(chan struct{}, 1)}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.timer = time.AfterFunc(lease/2, n.run)
	n.turn <- struct{}{}
	return n
}

// stop ends the renewals; none runs afterwards. One that the store has not answered is not waited for: its late effect finds a
// record that is settled, and changes nothing.
func (n *renewal) stop() {
	if n == nil {
		return
	}
	n.cancel()
	<-n.turn
	n.timer.Stop()
	n.turn <- struct{}{}
}

func (n *renewal) run() {
	<-n.turn
	defer func() { n.turn <- struct{}{} }()
	if n.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, beginTimeout)
	defer cancel()
	renewed, err := n.records.store.Renew(ctx, n.key, n.token, n.lease)
	switch {
	case n.ctx.Err() != nil:
	case err != nil:
		n.timer.Reset(max(n.lease/10, retryFirst))
	case renewed:
		n.timer.Reset(n.lease / 3)
	}
}
