package dedup

import (
	"context"
	"strconv"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// redispatch implements pipeline.Redispatch for routes with upstream_dedup: what a client's own repetition would do, before the
// client has to. The running claim is settled as unknown and claimed again under the next number, so that a crash in between,
// or a duplicate that comes first, finds what it would find anyway.
type redispatch struct{ *attempt }

// Redispatch implements pipeline.Redispatch.
func (r redispatch) Redispatch(ctx context.Context) bool {
	a := r.attempt
	ctx = context.WithoutCancel(ctx)
	if outcome, err := a.records.finish(ctx, a.key, a.token, a.unknownAgain(), true); err != nil || outcome != record.Stored {
		return false
	}
	token := newToken()
	claim := a.claim(token)
	claim.Grant, claim.Reclaim = true, true
	found, err := a.records.begin(ctx, a.key, claim)
	if err != nil {
		a.records.abandon(a.key, token)
		return false
	}
	if found.Verdict != record.Acquired {
		return false
	}
	a.renewal.stop()
	a.token, a.epoch = token, found.Epoch
	a.renewal = a.records.renew(a.key, token, claim.Lease)
	return a.number()
}

// number tells the upstream which dispatch this is, from the second on; false: there is no room for it.
func (a *attempt) number() bool {
	return a.epoch <= 1 || a.x.Outgoing.Set(AttemptField, strconv.AppendUint(nil, uint64(a.epoch), 10))
}

var _ pipeline.Redispatch = redispatch{}
