package dedup

import (
	"context"
	"fmt"
	"slices"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/failpoint"
	"github.com/oncegate/oncegate/internal/mutant"
	"github.com/oncegate/oncegate/internal/pipeline"
)

var notSent = pipeline.Problem{Executed: pipeline.ExecutedNo, SameKey: pipeline.Yes, NewKey: pipeline.Yes}

// failed decides on an error by what the upstream may have done.
func (a *attempt) failed(ctx context.Context, err error) error {
	status, effect := brokenStatus(err), a.x.Effect
	if mutant.DeleteOnError {
		effect = pipeline.EffectNone
	}
	switch effect {
	case pipeline.EffectNone:
		a.free(ctx)
		p, said := &a.x.Problem, a.unsent()
		p.Executed, p.SameKey, p.NewKey, p.OperationRef = said.Executed, said.SameKey, said.NewKey, said.OperationRef
		a.x.Response.Set("Cache-Control", noStore)
		return err
	case pipeline.EffectDone: // it answered, but the answer was lost on the way here, and its status with it
		if !a.grpc {
			return a.cutOff(ctx, record.Result{}, status, err)
		}
	}
	return a.unknown(ctx, status, err)
}

// brokenStatus is what a first caller gets when no answer came, or no whole one.
func brokenStatus(err error) int {
	if pipeline.KindOf(err) == pipeline.UpstreamTimeout {
		return 504
	}
	return 502
}

// unsent is what is known when this dispatch did not happen. An earlier one may have arrived: see free.
func (a *attempt) unsent() pipeline.Problem {
	if a.epoch <= 1 {
		return notSent
	}
	return pipeline.Problem{Executed: pipeline.ExecutedUnknown, SameKey: pipeline.Yes, NewKey: pipeline.No, OperationRef: a.records.ref(a.key)}
}

// answered decides on an answer by its status.
func (a *attempt) answered(ctx context.Context) error {
	resp := a.x.Response
	status := resp.Status()
	switch {
	case a.x.Effect == pipeline.EffectNone && a.epoch <= 1: // a fixed answer, and nothing was sent
		a.free(ctx)
		return nil
	case a.x.Effect != pipeline.EffectDone: // a fixed answer must not hide what is not known
		a.drop()
		return a.unknown(ctx, 502, nil)
	case a.grpc && status == 200:
		return a.answeredGRPC(ctx)
	case freesKey(status) || slices.Contains(a.cfg.ReleaseOn, status):
		return a.release(ctx, status)
	case status == 502 || status == 504, a.grpc && status == 503: // the upstream passes on that somebody behind it did not know either
		a.drop()
		return a.unknown(ctx, status, nil)
	}
	return a.keep(ctx, status)
}

// release frees the key on the upstream's word, if that came whole.
func (a *attempt) release(ctx context.Context, status int) error {
	resp := a.x.Response
	if _, _, err := resp.Buffer(int64(a.cfg.MaxAnswer)); err != nil {
		location := string(resp.Header("Location"))
		a.drop()
		return a.cutOff(ctx, record.Result{Status: status, Location: location}, brokenStatus(err), err)
	}
	a.free(ctx)
	resp.Set(statusField, []byte("executed"))
	return nil
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
			a.drop()
			return a.cutOff(ctx, res, brokenStatus(err), err)
		}
		if whole {
			a.complete(&res, body)
		}
	}
	return a.store(ctx, res)
}

// store settles with a result, and lets the answer through.
func (a *attempt) store(ctx context.Context, res record.Result) error {
	resp := a.x.Response
	word, said := ResultExecuted, "executed"
	switch outcome, err := a.finish(ctx, res); {
	case err != nil:
		word, said = ResultNotPersisted, "not-persisted"
	case outcome == record.Fenced:
		if found, ok := a.sameEffect(ctx); ok {
			a.drop()
			return a.duplicate(found)
		}
		word, said = ResultConflict, "conflict"
	}
	a.record(word)
	resp.Set(statusField, []byte(said))
	return nil
}

// sameEffect is for an attempt that was overtaken on a route whose upstream deduplicates: both dispatches had one effect, and
// all clients are told the same answer of the two.
func (a *attempt) sameEffect(ctx context.Context) (record.Found, bool) {
	if !a.cfg.UpstreamDedup {
		return record.Found{}, false
	}
	found, err := a.records.begin(ctx, a.key, record.Claim{Fingerprint: a.print, Token: a.token})
	return found, err == nil && found.Verdict == record.Replay
}

// cutOff settles an answer that came and broke: executed, and not to be told.
func (a *attempt) cutOff(ctx context.Context, res record.Result, status int, err error) error {
	res.State = record.Sealed
	_, _ = a.finish(ctx, res) // a failure is logged and retried; the client is told the truth either way
	told := a.told(ResultSealed, pipeline.ResultUnavailable, pipeline.Problem{
		Executed: pipeline.ExecutedYes, SameKey: pipeline.Yes, NewKey: pipeline.No, OriginalStatus: res.Status, Location: res.Location, Status: status,
	})
	a.locate(res.Location)
	return fmt.Errorf("%w: %w", told, err)
}

// unknown settles what nobody knows. status is what the first caller gets; err may be nil.
func (a *attempt) unknown(ctx context.Context, status int, err error) error {
	_, _ = a.finish(ctx, record.Result{State: record.Unknown})
	told := a.told(ResultUnknown, pipeline.OutcomeUnknown, pipeline.Problem{
		Executed: pipeline.ExecutedUnknown, SameKey: pipeline.Yes, NewKey: pipeline.No, Status: status, GRPC: a.code, RetryAfter: a.settles(a.token),
	})
	if err == nil {
		return told
	}
	return fmt.Errorf("%w: %w", told, err)
}

// settles starts what can still settle an unknown record, and gives the seconds after which asking again is worth it; 0: no
// time, nothing will settle it.
func (a *attempt) settles(version record.Token) int {
	switch {
	case a.cfg.UpstreamDedup:
		return 1
	case a.cfg.StatusCheck != nil:
		a.records.checks.add(a.facts.Route, a.key, version, a.upstreamKey())
		return checkFirst
	case a.records.backlog.holds(a.key):
		return checkFirst
	}
	return 0
}

func (a *attempt) finish(ctx context.Context, res record.Result) (record.Outcome, error) {
	a.settled, a.x.Keyed, a.x.Again = true, false, nil // what of the answer is still to come may end with the client
	a.renewal.stop()
	res.Fingerprint, res.RequestID, res.Subject, res.Route = a.print, string(a.x.ID), a.subject, a.facts.Route
	res.KeepAnswer, res.KeepKey = a.cfg.Keep.Answer.Std(), a.cfg.Keep.Key.Std()
	failpoint.Hit(failpoint.BeforeFinish)
	outcome, err := a.records.finish(ctx, a.key, a.token, res, a.cfg.UpstreamDedup)
	failpoint.Hit(failpoint.Finished)
	a.records.flights.land(a.key, a.flight, told(res, outcome, err))
	return outcome, err
}

// told is what a duplicate that waited in this process is told; a zero verdict sends it to the store.
func told(res record.Result, outcome record.Outcome, err error) record.Found {
	if err != nil || outcome == record.Fenced {
		return record.Found{}
	}
	found := record.Found{Status: res.Status, RequestID: res.RequestID, Location: res.Location}
	switch res.State {
	case record.Completed:
		found.Verdict, found.Answer = record.Replay, res.Answer
	case record.Sealed:
		found.Verdict = record.NotKept
	}
	return found
}

// free gives the key back: nothing was sent, or the upstream said that nothing was done. After an earlier dispatch that nobody
// knows the end of, the key is not free but unknown again.
func (a *attempt) free(ctx context.Context) {
	a.settled, a.x.Keyed, a.x.Again = true, false, nil
	a.renewal.stop()
	a.record(ResultReleased)
	if a.epoch > 1 {
		_, _ = a.records.finish(ctx, a.key, a.token, a.unknownAgain(), true)
	} else {
		a.records.release(ctx, a.key, a.token)
	}
	a.records.flights.land(a.key, a.flight, record.Found{})
}

func (a *attempt) unknownAgain() record.Result {
	return record.Result{
		State: record.Unknown, Fingerprint: a.print, Subject: a.subject, Route: a.facts.Route,
		KeepAnswer: a.cfg.Keep.Answer.Std(), KeepKey: a.cfg.Keep.Key.Std(),
	}
}
