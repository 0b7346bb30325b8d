package dedup

import (
	"context"
	"errors"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// Store keeps records. Each call is one atomic step on one record, decided by package record on the store's own clock.
// Whatever a call changed is durable, in the store's sense, before it returns; answers are copied. The suite in storetest is
// the full contract.
//
// An error means that the step may or may not have happened, unless it wraps ErrRefused: then it did not.
type Store interface {
	Attempts
	Settler
	Register
}

// Attempts is what a keyed request does with its record.
type Attempts interface {
	// Begin claims an absent record if the claim asks for it, or tells what is there.
	Begin(ctx context.Context, key record.Key, c record.Claim) (record.Found, error)
	// Finish settles the record for the attempt that holds the token. Repeating it is harmless.
	Finish(ctx context.Context, key record.Key, token record.Token, r record.Result) (record.Outcome, error)
	// Release frees the attempt's own claim, on proof that nothing was sent; false: there was nothing of it to free.
	Release(ctx context.Context, key record.Key, token record.Token) (bool, error)
}

// Settler is what happens to a record besides.
type Settler interface {
	// Renew extends the lease of the attempt's own claim; false: there is nothing of it to extend.
	Renew(ctx context.Context, key record.Key, token record.Token, lease time.Duration) (bool, error)
	// Look gives the record as it counts now, without its answer; absent when there is none.
	Look(ctx context.Context, key record.Key) (record.Record, error)
	// Resolve settles an unknown record from outside; false: it is not, or no longer, the one that was looked at.
	Resolve(ctx context.Context, key record.Key, token record.Token, v record.Resolution) (bool, error)
}

// Register is what a store knows of many records at once. Both calls are for the background and take their time.
type Register interface {
	// Open calls f with the records that are in flight or unknown, as they count now, without their order; records that change
	// meanwhile may be missed. f returns false to end it.
	Open(ctx context.Context, f func(record.Key, record.Record) bool) error
	// Erase drops what all records of a subject say of him; their keys stay.
	Erase(ctx context.Context, s record.Subject) (record.Erased, error)
}

// Secrets gives what keys the hashes of a store's records. It must be the same for all that share the store, and must outlive
// it: with another secret no record is found again. An error means that it is not known yet.
type Secrets interface {
	Secret(ctx context.Context) ([32]byte, error)
}

// ErrRefused is wrapped by a store's error when it is certain that nothing was changed: no room, closed.
var ErrRefused = errors.New("dedup: store refuses")
