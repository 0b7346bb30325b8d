package dedup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/failpoint"
	"github.com/oncegate/oncegate/internal/mutant"
	"github.com/oncegate/oncegate/internal/pipeline"
)

const statusField = "Idempotency-Status"

// identity is the only encoding that a keyed write asks for: whoever asks again, with whatever Accept-Encoding, can read it.
var identity = []byte("identity")

// attempt is one keyed request on its way. From the claim on, every way out settles the record or frees it.
type attempt struct {
	*guard
	x       *pipeline.Exchange
	key     record.Key
	print   record.Fingerprint
	token   record.Token
	subject record.Subject
	grpc    bool // the call is gRPC's
	code    int  // its status when the upstream did not know the outcome; 0: there is none
	epoch   uint32
	settled bool
	flight  *flight // where duplicates in this process wait; nil: none can
	renewal *renewal
}

func (a *attempt) serve(ctx context.Context) error {
	if !a.forwardKey() || !a.x.Outgoing.Set("Accept-Encoding", identity) {
		return fmt.Errorf("%w: no room for the forwarded key", pipeline.Internal)
	}
	if a.grpc && !a.x.Outgoing.Set(acceptField, identity) {
		return fmt.Errorf("%w: no room for %s", pipeline.Internal, acceptField)
	}
	found, wait, err := a.begin(ctx)
	if err == nil && found.Verdict == record.Busy && a.cfg.Wait > 0 {
		found, wait, err = a.hold(ctx, found)
	}
	switch kind := pipeline.KindOf(err); {
	case kind == pipeline.ClientGone || kind == pipeline.RateLimited:
		return err
	case err != nil:
		if !errors.Is(err, ErrRefused) && a.cfg.OnStoreFailure != "allow" { // the claim may be there all the same
			a.records.abandon(a.key, a.token)
		}
		return a.noStore(ctx, err)
	case found.Verdict == record.Acquired:
		a.epoch = found.Epoch
		return a.execute(ctx)
	case found.Verdict == record.Miss:
		return a.stopped(wait)
	}
	return a.duplicate(found)
}

// begin claims the record, or looks what is there when the request may not go on anyway. wait is the breaker's.
func (a *attempt) begin(ctx context.Context) (found record.Found, wait time.Duration, err error) {
	g, admitted := a.guard, a.x.Deferred == nil
	if admitted {
		wait, admitted = g.admits(a.x)
	}
	var paid charge
	capped := false
	if admitted {
		paid, capped = g.records.caps.newKey(a.subject, g.cfg.PerClient, time.Now())
	}
	failpoint.Hit(failpoint.BeforeBegin)
	claim := a.claim(a.token)
	claim.Grant, claim.Reclaim = admitted && !capped, g.cfg.UpstreamDedup
	found, err = g.records.begin(ctx, a.key, claim)
	if err != nil || found.Verdict != record.Acquired || found.Epoch > 1 {
		g.records.caps.oldKey(paid)
	}
	if capped && err == nil && found.Verdict == record.Miss {
		return found, 0, a.capped()
	}
	return found, wait, err
}

// claim is what a look at the record is made with; it grants nothing yet.
func (a *attempt) claim(token record.Token) record.Claim {
	return record.Claim{
		Fingerprint: a.print, Token: token, Subject: a.subject, Route: a.facts.Route,
		Lease: lease(a.x, time.Now()), KeepKey: a.cfg.Keep.Key.Std(),
	}
}

// noStore is what becomes of a request when nobody can tell whether it was sent before.
func (a *attempt) noStore(ctx context.Context, err error) error {
	switch {
	case a.cfg.OnStoreFailure != "allow" && !mutant.FailOpen:
		return a.storeFailed(err)
	case a.x.Deferred != nil:
		return a.stopped(0)
	}
	return a.unprotected(ctx, err)
}

// forwardKey says which key the upstream sees. A derived one is the same in every attempt, and differs between clients who
// chose the same.
func (a *attempt) forwardKey() bool {
	switch a.cfg.ForwardKey {
	case "as_sent":
		return true
	case "none":
		return a.x.Outgoing.Remove(keyField)
	}
	return a.x.Outgoing.Set(keyField, []byte(derive(a.key, labelUp)))
}

// upstreamKey is the key that the upstream saw, as text; "" when it saw none.
func (a *attempt) upstreamKey() string {
	switch a.cfg.ForwardKey {
	case "as_sent":
		return string(a.clientKey())
	case "none":
		return ""
	}
	return derive(a.key, labelUp)
}

// unprotected sends the request although nobody can tell whether it was sent before: the document asks for it. A claim that
// was made without our knowing stays, and ends as unknown.
func (a *attempt) unprotected(ctx context.Context, err error) error {
	a.records.log.Warn("a keyed write goes unprotected: the store failed", "route", a.facts.Route, "error", err)
	a.record(ResultNotProtected)
	err = a.next.Serve(ctx, a.x)
	a.x.Response.Set(statusField, []byte("not-protected"))
	return err
}

// execute sends the request. Neither the client's leaving nor a panic leaves the record open. stop ends when the gateway stops
// and waits no longer: then the outcome is unknown, and there is still time to say and to store that.
func (a *attempt) execute(stop context.Context) error {
	failpoint.Hit(failpoint.Claimed)
	ctx := context.WithoutCancel(stop)
	if !a.number() {
		a.free(ctx)
		return fmt.Errorf("%w: no room for the attempt's number", pipeline.Internal)
	}
	a.x.Keyed = true
	if a.cfg.UpstreamDedup {
		a.x.Again = redispatch{a}
	}
	a.flight = a.records.flights.depart(a.key, a.print, a.cfg.Wait > 0)
	a.renewal = a.records.renew(a.key, a.token, lease(a.x, time.Now()))
	defer a.ended()
	defer a.panicked(ctx)
	err := a.next.Serve(stop, a.x)
	if err != nil {
		return a.failed(ctx, err)
	}
	return a.answered(ctx)
}

// ended leaves nothing behind that waits for this attempt, even when storing its result panicked.
func (a *attempt) ended() {
	a.renewal.stop()
	a.records.flights.land(a.key, a.flight, record.Found{})
}

// panicked runs after the work; only a panic finds the record unsettled. Nothing is recovered here.
func (a *attempt) panicked(ctx context.Context) {
	if a.settled {
		return
	}
	if a.x.Effect == pipeline.EffectNone && a.x.Attempt.Count == 0 {
		a.free(ctx)
		a.x.Problem = a.unsent()
		return
	}
	_ = a.unknown(ctx, 0, nil)
}
