// Package dedup makes keyed writes happen once: a request that carries an Idempotency-Key is claimed in a store before it is
// sent, and what came of it is stored before the client sees it.
//
// It promises, for one client, scope, key and identical request within the retention: at most one dispatch that can have
// reached the upstream, the same answer for every later duplicate (or "executed, answer not kept"), and an honest "unknown"
// when nobody can know. It does not make the upstream itself transactional: what a crash between sending and storing hides
// stays unknown. When the store fails nothing is sent (on_store_failure: allow sends it unprotected, and says so); when it
// fails between claim and result, the client gets the real answer, marked not-persisted.
package dedup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/answer"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// Facts are what a route knows of itself.
type Facts struct {
	Route     string // its id, for metrics
	Upstream  string // the default scope
	Anonymous bool   // auth: none
	MaxBody   int64  // the largest body that is read whole
	Limited   bool   // it has rate limits: replays are bounded, too
}

// Admits tells whether the route's upstream would be called now; if not, when to come again. It takes nothing.
type Admits func(x *pipeline.Exchange) (retryAfter time.Duration, ok bool)

// Recorder counts keyed requests.
type Recorder interface {
	// Dedup counts them by what became of them. The words are fixed: see the Result constants.
	Dedup(route, result string)
	// ShortKey counts those whose key has fewer than 16 characters.
	ShortKey(route string)
	// LateRetry counts those that came in the last tenth of their key's time: a little later they would have been executed again.
	LateRetry(route string)
}

// The results that a Recorder gets.
const (
	ResultExecuted     = "executed"
	ResultReplayed     = "replayed"
	ResultMismatch     = "mismatch"
	ResultInProgress   = "in_progress"
	ResultUnknown      = "unknown"
	ResultSealed       = "sealed"
	ResultReleased     = "released"
	ResultConflict     = "conflict"
	ResultNotPersisted = "not_persisted"
	ResultStoreError   = "store_error"
	ResultMissing      = "missing"
	ResultInvalid      = "invalid"
	ResultRefused      = "refused"
	ResultNotProtected = "not_protected"
	ResultIgnored      = "ignored"
)

// New makes the layer of a route. admits nil: the upstream is always called. rec may be nil.
func New(cfg Config, facts Facts, records *Records, admits Admits, rec Recorder) (pipeline.Layer, error) {
	g := guard{cfg: cfg, facts: facts, records: records, admits: admits, recorder: rec, scope: cfg.Scope, kept: answer.Kept(cfg.KeepHeaders...)}
	if g.scope == "" {
		g.scope = facts.Upstream
	}
	if cfg.Client != clientSubject {
		if name, ok := strings.CutPrefix(cfg.Client, "header:"); !ok || name == "" {
			return nil, fmt.Errorf("dedup: client %q is neither subject nor header:X-Name", cfg.Client)
		}
	}
	if facts.Anonymous && cfg.Client == clientSubject {
		return nil, errors.New("dedup: a route with auth: none has to say whose key it is: client: header:X-Name")
	}
	if rec == nil {
		g.recorder = silent{}
	}
	if admits == nil {
		g.admits = func(*pipeline.Exchange) (time.Duration, bool) { return 0, true }
	}
	return func(next pipeline.Handler) pipeline.Handler {
		made := g
		next = unmarked{next}
		made.next, made.ignored = next, Ignored(facts.Route, g.recorder)(next)
		return &made
	}, nil
}

type silent struct{}

func (silent) Dedup(string, string) {}
func (silent) ShortKey(string)      {}
func (silent) LateRetry(string)     {}

type guard struct {
	cfg      Config
	facts    Facts
	records  *Records
	admits   Admits
	recorder Recorder
	next     pipeline.Handler
	ignored  pipeline.Handler // next, for methods that are not protected
	scope    string
	kept     answer.Headers
}

// Serve implements pipeline.Handler.
func (g *guard) Serve(ctx context.Context, x *pipeline.Exchange) error {
	key, protected, refusal := g.cfg.KeyOf(x.Request)
	switch {
	case !protected:
		return pass(ctx, x, g.ignored)
	case refusal != 0:
		return g.refuseKey(x, refusal)
	case key == nil:
		return pass(ctx, x, g.next)
	}
	g.lookAtKey(key)
	named, err := g.client(x)
	if err != nil {
		return err
	}
	body, err := g.body(x)
	if err != nil {
		return err // too large, or broken off: nothing was claimed
	}
	a := attempt{guard: g, x: x, token: newToken(), grpc: pipeline.IsGRPC(x.Request.Header("Content-Type"))}
	hashes, err := g.records.hasher(ctx)
	if err != nil {
		if g.cfg.ForwardKey != "as_sent" { // the derived key is not known, and the client's is not for the upstream
			x.Outgoing.Remove(keyField)
		}
		return a.noStore(ctx, err)
	}
	a.key = hashes.recordKey(x.Client.Identity, named, g.scope, key)
	a.print = hashes.fingerprint(x.Request, g.cfg.FingerprintHeaders, body)
	a.subject = hashes.subject(x.Client.Identity, named)
	return a.serve(ctx)
}

// body reads the whole body. As with other requests, the time that a slow client takes for it does not count against the
// deadline: what is left of that belongs to the upstream, and decides how long the claim is held.
func (g *guard) body(x *pipeline.Exchange) ([]byte, error) {
	if _, whole := x.Request.Buffered(); whole {
		return x.Request.Buffer(g.facts.MaxBody)
	}
	start := time.Now()
	body, err := x.Request.Buffer(g.facts.MaxBody)
	if !x.Deadline.IsZero() {
		x.Deadline = x.Deadline.Add(time.Since(start))
	}
	return body, err
}

// pass is for what is not protected here. A refusal that was left for us to decide on stands.
func pass(ctx context.Context, x *pipeline.Exchange, next pipeline.Handler) error {
	if x.Deferred != nil {
		return x.Deferred
	}
	return next.Serve(ctx, x)
}

// client checks that it is known whose key it is, and gives the header that says so, if one does.
func (g *guard) client(x *pipeline.Exchange) (named []byte, err error) {
	named, ok := g.cfg.ClientOf(x)
	if ok {
		return named, nil
	}
	if x.Deferred != nil {
		return nil, x.Deferred
	}
	g.record(ResultRefused)
	return nil, refuse(x, pipeline.BadRequest, pipeline.Problem{Executed: pipeline.ExecutedNo, SameKey: pipeline.Yes, NewKey: pipeline.No})
}

func (g *guard) record(result string) { g.recorder.Dedup(g.facts.Route, result) }

// lease is how long an attempt may take in all: the request's own time, and then some to store the result.
func lease(x *pipeline.Exchange, now time.Time) time.Duration {
	rest, ok := x.Remaining(now, 0)
	if !ok {
		rest = defaultTime
	}
	return max(rest, 0) + leaseMargin
}
