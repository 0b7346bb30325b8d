// Package pipeline holds the words that every other package speaks: an exchange is one request with its answer, a handler
// answers it, a layer wraps a handler, an effect says what the upstream may already have done.
//
// It promises that a composed handler is wrapped once, when a plan is compiled, and that passing a request through it
// allocates nothing. It does not know transports, configuration or any policy, and it holds no state that outlives an
// exchange.
package pipeline

import "context"

// Handler answers an exchange. A returned error is a refusal (see Refusal, KindOf): the edge renders it, and whatever the
// handler had put into the response apart from header fields that explain the refusal must be gone by then.
// A nil error means that Response holds the answer.
type Handler interface {
	Serve(ctx context.Context, x *Exchange) error
}

// HandlerFunc lets a function be a Handler.
type HandlerFunc func(ctx context.Context, x *Exchange) error

// Serve calls f.
func (f HandlerFunc) Serve(ctx context.Context, x *Exchange) error { return f(ctx, x) }

// Layer wraps a handler. It refuses, answers, or calls next and looks at the result.
type Layer func(next Handler) Handler

// Compose wraps end with the layers; the first layer is the outermost. Nil layers are left out.
func Compose(end Handler, layers ...Layer) Handler {
	h := end
	for i := len(layers) - 1; i >= 0; i-- {
		if layers[i] != nil {
			h = layers[i](h)
		}
	}
	return h
}

// Effect says what the upstream may already have done for this exchange. Every promise about retries and keyed writes is
// decided by it. It only ever grows within one attempt; a new attempt may start only while the promise allows it.
type Effect uint8

// The effects.
const (
	EffectNone    Effect = iota // proven: no byte of the request reached an upstream
	EffectUnknown               // some of the request may have arrived, no complete answer head came
	EffectDone                  // the upstream answered
)

// String gives the word that logs show.
func (e Effect) String() string {
	switch e {
	case EffectNone:
		return "none"
	case EffectUnknown:
		return "unknown"
	}
	return "done"
}
