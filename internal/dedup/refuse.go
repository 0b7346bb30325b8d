package dedup

import (
	"fmt"
	"time"

	"github.com/oncegate/oncegate/internal/answer"
	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// What the members of a problem promise a client:
//
//	executed             what this gateway knows of the effect: of this request, or of the one that the key belongs to
//	safe_same_key_retry  the same request may be sent again with the same key: it can't happen twice, and the key can still
//	                     bring the answer. False only where the key itself is wrong for this request.
//	safe_new_key         the same request may be sent again with a new key: certainly nothing was executed under the old one
//
// So an unknown outcome is safe to repeat with its key (a duplicate is only told what is known by then), and never with another.

// labelUp derives the key that the upstream sees.
const labelUp = "up"

// replayPolicy is the member policy of a refusal because an answer was told too often.
const replayPolicy = "replays"

var (
	noStore     = []byte("no-store")
	describedBy = []byte(`<urn:oncegate:docs:keyed-writes>; rel="describedby"`)
)

// refuse has the edge answer with a problem. Whatever lower layers said is gone.
func refuse(x *pipeline.Exchange, kind pipeline.Refusal, p pipeline.Problem) error {
	x.Problem = p
	x.Response.Set("Cache-Control", noStore)
	return kind
}

// refuseKey answers a key that is missing or broken. A spent limit goes first: such a storm stays bounded.
func (g *guard) refuseKey(x *pipeline.Exchange, kind pipeline.Refusal) error {
	if x.Deferred != nil {
		return x.Deferred
	}
	word := ResultMissing
	if kind == pipeline.KeyInvalid {
		word = ResultInvalid
	}
	g.record(word)
	x.Response.Set("Link", describedBy)
	return refuse(x, kind, pipeline.Problem{Executed: pipeline.ExecutedNo, SameKey: pipeline.No, NewKey: pipeline.Yes})
}

// stopped is the answer to a key that is not there yet while a limit or the breaker refuses: nothing was claimed.
func (a *attempt) stopped(wait time.Duration) error {
	a.record(ResultRefused)
	x := a.x
	if x.Deferred != nil {
		x.Problem.Executed, x.Problem.SameKey, x.Problem.NewKey = pipeline.ExecutedNo, pipeline.Yes, pipeline.Yes
		x.Response.Set("Cache-Control", noStore)
		return x.Deferred
	}
	return refuse(x, pipeline.UpstreamOpen, pipeline.Problem{Executed: pipeline.ExecutedNo, SameKey: pipeline.Yes, NewKey: pipeline.Yes, RetryAfter: seconds(wait)})
}

// storeFailed is the answer when nobody can look. An earlier attempt may have been executed, so a new key is not safe.
func (a *attempt) storeFailed(err error) error {
	a.record(ResultStoreError)
	p := pipeline.Problem{Executed: pipeline.ExecutedNo, SameKey: pipeline.Yes, NewKey: pipeline.No, RetryAfter: 1}
	return fmt.Errorf("%w: %w", refuse(a.x, pipeline.StoreUnavailable, p), err)
}

// duplicate answers what was found about an earlier attempt.
func (a *attempt) duplicate(f record.Found) error {
	a.lookAtAge(f)
	switch f.Verdict {
	case record.Mismatch:
		return a.told(ResultMismatch, pipeline.KeyReused, pipeline.Problem{Executed: pipeline.ExecutedNo, SameKey: pipeline.No, NewKey: pipeline.Yes})
	case record.Busy:
		wait := min(seconds(f.Left), 5)
		return a.told(ResultInProgress, pipeline.InProgress, pipeline.Problem{Executed: pipeline.ExecutedInProgress, SameKey: pipeline.Yes, NewKey: pipeline.No, RetryAfter: wait})
	case record.Replay:
		return a.replay(f)
	case record.NotKept:
		return a.notKept(f)
	}
	return a.told(ResultUnknown, pipeline.OutcomeUnknown, pipeline.Problem{
		Executed: pipeline.ExecutedUnknown, SameKey: pipeline.Yes, NewKey: pipeline.No, RetryAfter: a.settles(f.Token),
	})
}

func (a *attempt) notKept(f record.Found) error {
	a.locate(f.Location)
	return a.told(ResultSealed, pipeline.ResultUnavailable, pipeline.Problem{
		Executed: pipeline.ExecutedYes, SameKey: pipeline.Yes, NewKey: pipeline.No, OriginalStatus: f.Status, Location: f.Location,
	})
}

// locate says where the answer that is not told pointed to.
func (a *attempt) locate(location string) {
	if location != "" {
		a.x.Response.Set("Location", []byte(location))
	}
}

// told counts and refuses; the problem names the record.
func (a *attempt) told(word string, kind pipeline.Refusal, p pipeline.Problem) error {
	a.record(word)
	p.OperationRef = a.records.ref(a.key)
	return refuse(a.x, kind, p)
}

// replay tells the stored answer again. One that can't be read is as good as not kept.
func (a *attempt) replay(f record.Found) error {
	if err := a.bounded(); err != nil {
		return err
	}
	plain, err := a.records.sealer.Load().Open(f.Answer, a.key[:], a.clientKey())
	var stored answer.Answer
	if err == nil {
		stored, err = answer.Decode(plain)
	}
	if err != nil {
		a.records.log.Error("a stored answer can't be read", "operation_ref", a.records.ref(a.key), "error", err)
		return a.notKept(f)
	}
	a.record(ResultReplayed)
	x := a.x
	x.Replayed = true
	x.Response.SetStatus(stored.Status)
	stored.Each(func(name, value []byte) { x.Response.Add(string(name), value) })
	x.Response.SetBody(stored.Body)
	a.tellStatus(stored)
	x.Response.Set("Idempotent-Replayed", []byte("true"))
	x.Response.Set(statusField, []byte("replayed"))
	if f.RequestID != "" {
		x.Response.Set("Idempotency-Original-Request-Id", []byte(f.RequestID))
	}
	return nil
}

// bounded refuses a replay that was told too often. The limit does not do that: a replay costs none of its tokens.
func (a *attempt) bounded() error {
	if !a.facts.Limited {
		return nil
	}
	wait, ok := a.records.replays.take(a.key, time.Now())
	if ok {
		return nil
	}
	a.x.Deferred = nil // the answer is ours, not the limit's
	return a.told(ResultRefused, pipeline.RateLimited, pipeline.Problem{
		Policy: replayPolicy, Executed: pipeline.ExecutedYes, SameKey: pipeline.Yes, NewKey: pipeline.No, RetryAfter: seconds(wait),
	})
}

// seconds rounds up to whole seconds, at least one.
func seconds(d time.Duration) int { return max(1, int((d+time.Second-1)/time.Second)) }

// single gives the value of a field that stands there once, else nil.
func single(r pipeline.Request, name string) (value []byte) {
	n := 0
	for i := range r.Fields() {
		if got, v := r.Field(i); wire.EqualFold(got, name) {
			value = v
			n++
		}
	}
	if n != 1 {
		return nil
	}
	return value
}
