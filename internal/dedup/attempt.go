package dedup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/oncegate/oncegate/internal/answer"
	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

const statusField = "Idempotency-Status"

// attempt is one keyed request on its way. From the claim on, every way out settles the record or frees it.
type attempt struct {
	*guard
	x       *pipeline.Exchange
	key     record.Key
	print   record.Fingerprint
	token   record.Token
	settled bool
}

func (a *attempt) serve(ctx context.Context) error {
	if !a.forwardKey() {
		return fmt.Errorf("%w: no room for the forwarded key", pipeline.Internal)
	}
	found, wait, err := a.begin(ctx)
	switch {
	case err != nil && a.cfg.OnStoreFailure == "allow" && a.x.Deferred != nil:
		return a.stopped(0)
	case err != nil && a.cfg.OnStoreFailure == "allow":
		return a.unprotected(ctx, err)
	case err != nil:
		if !errors.Is(err, ErrRefused) { // the claim may be there all the same
			a.records.abandon(a.key, a.token)
		}
		return a.storeFailed(err)
	case found.Verdict == record.Acquired:
		return a.execute(ctx)
	case found.Verdict == record.Miss:
		return a.stopped(wait)
	}
	return a.duplicate(found)
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

// unprotected sends the request although nobody can tell whether it was sent before: the document asks for it. A claim that
// was made without our knowing stays, and ends as unknown.
func (a *attempt) unprotected(ctx context.Context, err error) error {
	a.records.log.Warn("a keyed write goes unprotected: the store failed", "route", a.facts.Route, "error", err)
	a.record(ResultNotProtected)
	err = a.next.Serve(ctx, a.x)
	a.x.Response.Set(statusField, []byte("not-protected"))
	return err
}

// execute sends the request. Neither the client's leaving nor a panic leaves the record open.
func (a *attempt) execute(ctx context.Context) error {
	a.x.Keyed = true
	ctx = context.WithoutCancel(ctx)
	defer a.panicked(ctx)
	err := a.next.Serve(ctx, a.x)
	if err != nil {
		return a.failed(ctx, err)
	}
	return a.answered(ctx)
}

// panicked runs last; only a panic finds the record unsettled. Nothing is recovered here.
func (a *attempt) panicked(ctx context.Context) {
	if a.settled {
		return
	}
	if a.x.Effect == pipeline.EffectNone && a.x.Attempt.Count == 0 {
		a.free(ctx)
		a.x.Problem = notSent
		return
	}
	_ = a.unknown(ctx, 0, nil)
}

var notSent = pipeline.Problem{Executed: pipeline.ExecutedNo, SameKey: pipeline.Yes, NewKey: pipeline.Yes}

// failed decides on an error by what the upstream may have done.
func (a *attempt) failed(ctx context.Context, err error) error {
	status := 502
	if pipeline.KindOf(err) == pipeline.UpstreamTimeout {
		status = 504
	}
	switch a.x.Effect {
	case pipeline.EffectNone:
		a.free(ctx)
		p := &a.x.Problem
		p.Executed, p.SameKey, p.NewKey = notSent.Executed, notSent.SameKey, notSent.NewKey
		a.x.Response.Set("Cache-Control", noStore)
		return err
	case pipeline.EffectDone: // it answered, but the answer was lost on the way here, and its status with it
		return a.cutOff(ctx, record.Result{}, status, err)
	}
	return a.unknown(ctx, status, err)
}

// answered decides on an answer by its status.
func (a *attempt) answered(ctx context.Context) error {
	resp := a.x.Response
	status := resp.Status()
	switch {
	case a.x.Effect == pipeline.EffectNone: // a fixed answer, and nothing was sent
		a.free(ctx)
		return nil
	case a.x.Effect == pipeline.EffectUnknown: // a fixed answer must not hide what is not known
		resp.Reset()
		return a.unknown(ctx, 502, nil)
	case freesKey(status) || slices.Contains(a.cfg.ReleaseOn, status):
		a.free(ctx)
		resp.Set(statusField, []byte("executed"))
		return nil
	case status == 502 || status == 504: // the upstream passes on that somebody behind it did not know either
		resp.Reset()
		return a.unknown(ctx, status, nil)
	}
	return a.keep(ctx, status)
}

// freesKey are the answers that say: not now, not like this, nothing was done.
func freesKey(status int) bool {
	switch status {
	case 401, 407, 408, 421, 425, 429:
		return true
	}
	return false
}

// keep stores the answer before the client sees any of it. One that is too large, or not whole by the deadline, goes on to the
// client and is not kept: the claim must not wait for it.
func (a *attempt) keep(ctx context.Context, status int) error {
	resp := a.x.Response
	res := record.Result{State: record.Sealed, Status: status, Location: string(resp.Header("Location"))}
	if status >= 200 && !isEventStream(resp.Header("Content-Type")) {
		body, whole, err := resp.Buffer(int64(a.cfg.MaxAnswer))
		if err != nil {
			resp.Reset()
			code := 502
			if pipeline.KindOf(err) == pipeline.UpstreamTimeout {
				code = 504
			}
			return a.cutOff(ctx, res, code, err)
		}
		if whole {
			a.complete(&res, body)
		}
	}
	word, said := ResultExecuted, "executed"
	switch outcome, err := a.finish(ctx, res); {
	case err != nil:
		word, said = ResultNotPersisted, "not-persisted"
	case outcome == record.Fenced:
		word, said = ResultConflict, "conflict"
	}
	a.record(word)
	resp.Set(statusField, []byte(said))
	return nil
}

// complete makes the answer one that can be told again. An answer that can't be sealed is not kept: it never goes to the store
// in the clear.
func (a *attempt) complete(res *record.Result, body []byte) {
	sealed, err := a.records.sealer.Seal(a.encode(res.Status, body), a.key[:], a.clientKey())
	if err != nil {
		a.records.log.Error("an answer could not be sealed and is not kept", "operation_ref", derive(a.key, labelRef), "error", err)
		return
	}
	res.State, res.Answer = record.Completed, sealed
}

// clientKey is the idempotency key as the client chose it.
func (a *attempt) clientKey() []byte {
	key, _ := wire.ParseKey(single(a.x.Request, keyField))
	return key
}

// isEventStream: such an answer has no end to wait for.
func isEventStream(contentType []byte) bool {
	const sse = "text/event-stream"
	return len(contentType) >= len(sse) && bytes.EqualFold(contentType[:len(sse)], []byte(sse))
}

// encode copies what may be told again. The memory is its own: it may outlive the exchange in the backlog.
func (a *attempt) encode(status int, body []byte) []byte {
	var b answer.Builder
	b.Begin(status)
	a.x.Response.EachField(func(name, value []byte) {
		if a.kept.Has(name) {
			b.Field(name, value)
		}
	})
	return b.End(body)
}

// cutOff settles an answer that came and broke: executed, and not to be told.
func (a *attempt) cutOff(ctx context.Context, res record.Result, status int, err error) error {
	res.State = record.Sealed
	_, _ = a.finish(ctx, res) // a failure is logged and retried; the client is told the truth either way
	told := a.told(ResultSealed, pipeline.ResultUnavailable, pipeline.Problem{
		Executed: pipeline.ExecutedYes, SameKey: pipeline.Yes, NewKey: pipeline.No, OriginalStatus: res.Status, Location: res.Location, Status: status,
	})
	return fmt.Errorf("%w: %w", told, err)
}

// unknown settles what nobody knows. status is what the first caller gets; err may be nil.
func (a *attempt) unknown(ctx context.Context, status int, err error) error {
	_, _ = a.finish(ctx, record.Result{State: record.Unknown})
	told := a.told(ResultUnknown, pipeline.OutcomeUnknown, pipeline.Problem{
		Executed: pipeline.ExecutedUnknown, SameKey: pipeline.Yes, NewKey: pipeline.No, Status: status,
	})
	if err == nil {
		return told
	}
	return fmt.Errorf("%w: %w", told, err)
}

func (a *attempt) finish(ctx context.Context, res record.Result) (record.Outcome, error) {
	a.settled, a.x.Keyed = true, false // what of the answer is still to come may end with the client
	res.Fingerprint, res.RequestID = a.print, string(a.x.ID)
	res.KeepAnswer, res.KeepKey = a.cfg.Keep.Answer.Std(), a.cfg.Keep.Key.Std()
	return a.records.finish(ctx, a.key, a.token, res)
}

func (a *attempt) free(ctx context.Context) {
	a.settled, a.x.Keyed = true, false
	a.record(ResultReleased)
	a.records.release(ctx, a.key, a.token)
}
