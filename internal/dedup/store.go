package dedup

import (
	"context"
	"errors"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// Store keeps records. Each call is one atomic step on one record, decided by package record on the store's own clock.
// Whatever a call changed is durable, in the store's sense, before it returns; answers are copied. The suite in storetest is
// the full contract.
//
// An error means that the step may or may not have happened, unless it wraps ErrRefused: then it did not.
type Store interface {
	// Begin claims an absent record if the claim asks for it, or tells what is there.
	Begin(ctx context.Context, key record.Key, c record.Claim) (record.Found, error)
	// Finish settles the record for the attempt that holds the token. Repeating it is harmless.
	Finish(ctx context.Context, key record.Key, token record.Token, r record.Result) (record.Outcome, error)
	// Release frees the attempt's own claim, on proof that nothing was sent; false: there was nothing of it to free.
	Release(ctx context.Context, key record.Key, token record.Token) (bool, error)
}

// ErrRefused is wrapped by a store's error when it is certain that nothing was changed: no room, closed.
var ErrRefused = errors.New("dedup: store refuses")
