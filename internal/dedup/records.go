package dedup

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/oncegate/oncegate/internal/answer"
	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/failpoint"
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
	secrets Secrets
	hashes  atomic.Pointer[hasher] // nil until the secret is known
	sealer  atomic.Pointer[answer.Sealer]
	backlog *backlog
	flights *flights
	checks  *checks
	caps    caps
	replays replays
	warned  warned
	meter   Meter
	log     *slog.Logger
}

// Deps are what records need besides their store. Only Secrets is obligatory.
type Deps struct {
	Secrets Secrets
	Sealer  *answer.Sealer // nil: answers are stored as they are
	Spool   Spool          // nil: results that the store did not take live in memory only
	Meter   Meter
	Log     *slog.Logger
}

// Meter is told what goes on between the records and their store.
type Meter interface {
	// Finished counts results by outcome: stored, fenced, recreated (the store had lost the claim) or spooled; one that was
	// spooled counts again when the store takes it.
	Finished(outcome string)
	// StoreTime is what a call took; op is begin, finish or release.
	StoreTime(op string, d time.Duration, failed bool)
	// Checked counts what upstreams said of unknown outcomes.
	Checked(route, verdict string)
}

type unmetered struct{}

func (unmetered) Finished(string)                       {}
func (unmetered) StoreTime(string, time.Duration, bool) {}
func (unmetered) Checked(string, string)                {}

// FixedSecret is a secret that is known from the start.
type FixedSecret [32]byte

// Secret implements Secrets.
func (f FixedSecret) Secret(context.Context) ([32]byte, error) { return f, nil }

// NewRecords makes the records of a store.
func NewRecords(store Store, d Deps) *Records {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Meter == nil {
		d.Meter = unmetered{}
	}
	r := &Records{store: store, secrets: d.Secrets, flights: newFlights(), meter: d.Meter, log: d.Log}
	r.sealer.Store(d.Sealer)
	r.backlog = newBacklog(store, d.Spool, r.ref, d.Meter, d.Log)
	r.checks = newChecks(store, r.ref, d.Meter, d.Log)
	return r
}

// Seal has answers sealed by another sealer from now on; nil: not at all.
func (r *Records) Seal(by *answer.Sealer) { r.sealer.Store(by) }

// hasher gives the hasher as soon as the store's secret is known. The error wraps ErrRefused: without it nothing can be asked.
func (r *Records) hasher(ctx context.Context) (*hasher, error) {
	if h := r.hashes.Load(); h != nil {
		return h, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), beginTimeout)
	defer cancel()
	secret, err := r.secrets.Secret(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: its secret is not known: %w", ErrRefused, err)
	}
	r.hashes.CompareAndSwap(nil, newHasher(secret))
	return r.hashes.Load(), nil
}

// ref is the public name of a record; "" while the secret is not known.
func (r *Records) ref(key record.Key) string {
	h := r.hashes.Load()
	if h == nil {
		return ""
	}
	return h.ref(key)
}

// Close ends the status checks, stores what the backlog holds, as long as ctx allows, and ends it. It does not close the store.
func (r *Records) Close(ctx context.Context) error {
	r.checks.close()
	return r.backlog.close(ctx)
}

// Backlog is how many results wait to be stored.
func (r *Records) Backlog() int { return r.backlog.len() }

// Waiting is how many duplicates wait for a running request.
func (r *Records) Waiting() int { return r.flights.len() }

// Checks says which routes' unknown outcomes are asked about from now on.
func (r *Records) Checks(routes map[string]Check) { r.checks.use(routes) }

func (r *Records) begin(ctx context.Context, key record.Key, c record.Claim) (record.Found, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), beginTimeout)
	defer cancel()
	start := time.Now()
	found, err := r.store.Begin(ctx, key, c)
	failpoint.Hit(failpoint.BeginSent)
	r.meter.StoreTime("begin", time.Since(start), err != nil)
	return found, err
}

// finish stores a result; ctx must not be the client's. What the store does not take now goes to the backlog; the error says so.
// taken: another attempt may hold the key by right, the upstream deduplicates.
func (r *Records) finish(ctx context.Context, key record.Key, token record.Token, res record.Result, taken bool) (record.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, finishTimeout)
	defer cancel()
	start := time.Now()
	outcome, err := r.store.Finish(ctx, key, token, res)
	failpoint.Hit(failpoint.FinishSent)
	r.meter.StoreTime("finish", time.Since(start), err != nil)
	switch {
	case err != nil:
		kept := r.backlog.add(pending{key: key, token: token, result: res})
		r.meter.Finished("spooled")
		r.log.Error("the result of a keyed write could not be stored", "operation_ref", r.ref(key), "retrying", kept, "error", err)
		return outcome, err
	case outcome == record.Fenced && !taken:
		r.log.Error("a keyed write was claimed twice: it may have been executed twice", "operation_ref", r.ref(key))
	case outcome == record.Recreated:
		r.log.Error("the store had lost the claim of a keyed write", "operation_ref", r.ref(key))
	}
	r.meter.Finished(outcome.String())
	return outcome, nil
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
