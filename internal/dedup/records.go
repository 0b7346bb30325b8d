package dedup

import (
	"context"
	"crypto/rand"
	"log/slog"
	"time"

	"github.com/oncegate/oncegate/internal/answer"
	"github.com/oncegate/oncegate/internal/dedup/record"
)

// The time that a store has to answer. Nobody waits longer; finishing is not hurried by the client or its deadline.
const (
	beginTimeout  = 2 * time.Second
	finishTimeout = 10 * time.Second
	leaseMargin   = finishTimeout + 5*time.Second // above the request's own time
	defaultTime   = time.Minute                   // of a request without a deadline
)

// Records is a store as the layers use it, with the secret that keys their hashes and a backlog of results that the store
// did not take. It outlives configurations. Close ends it.
type Records struct {
	store   Store
	hashes  *hasher
	sealer  *answer.Sealer // nil: answers are stored as they are
	backlog *backlog
	replays replays
	log     *slog.Logger
}

// NewRecords makes the records of a store. The secret must be the same for all that share the store and must outlive it:
// with another one no record is found again. log may be nil.
func NewRecords(store Store, secret [32]byte, log *slog.Logger) *Records {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Records{store: store, hashes: newHasher(secret), backlog: newBacklog(store, log), log: log}
}

// Sealed has answers encrypted before the store sees them. Call it before the records are used.
func (r *Records) Sealed(by *answer.Sealer) *Records {
	r.sealer = by
	return r
}

// Close stores what the backlog holds, as long as ctx allows, and ends it. It does not close the store.
func (r *Records) Close(ctx context.Context) error { return r.backlog.close(ctx) }

// Backlog is how many results wait to be stored.
func (r *Records) Backlog() int { return r.backlog.len() }

func (r *Records) begin(ctx context.Context, key record.Key, c record.Claim) (record.Found, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), beginTimeout)
	defer cancel()
	return r.store.Begin(ctx, key, c)
}

// finish stores a result; ctx must not be the client's. What the store does not take now goes to the backlog; the error says so.
func (r *Records) finish(ctx context.Context, key record.Key, token record.Token, res record.Result) (record.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, finishTimeout)
	defer cancel()
	outcome, err := r.store.Finish(ctx, key, token, res)
	switch {
	case err != nil:
		kept := r.backlog.add(pending{key: key, token: token, result: res})
		r.log.Error("the result of a keyed write could not be stored", "operation_ref", derive(key, labelRef), "retrying", kept, "error", err)
	case outcome == record.Fenced:
		r.log.Error("a keyed write was claimed twice: it may have been executed twice", "operation_ref", derive(key, labelRef))
	case outcome == record.Recreated:
		r.log.Error("the store had lost the claim of a keyed write", "operation_ref", derive(key, labelRef))
	}
	return outcome, err
}

// release frees a claim of which nothing was sent, now or from the backlog; ctx must not be the client's.
func (r *Records) release(ctx context.Context, key record.Key, token record.Token) {
	ctx, cancel := context.WithTimeout(ctx, finishTimeout)
	defer cancel()
	if _, err := r.store.Release(ctx, key, token); err != nil {
		r.abandon(key, token)
	}
}

// abandon frees a claim in the background that may have been made although Begin failed.
func (r *Records) abandon(key record.Key, token record.Token) {
	r.backlog.add(pending{key: key, token: token, release: true})
}

func newToken() (t record.Token) {
	rand.Read(t[:])
	return t
}
