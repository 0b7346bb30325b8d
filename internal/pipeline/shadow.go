package pipeline

import (
	"context"
	"errors"
)

// Shadow has a layer decide and refuse nothing: what it refuses with one of the kinds is told to would, and goes on as if the
// layer was not there. What comes from below the layer passes unchanged. It allocates for every request, unlike a bare layer.
func Shadow(l Layer, would func(x *Exchange, kind Refusal), kinds ...Refusal) Layer {
	if l == nil {
		return nil
	}
	return func(next Handler) Handler {
		return &shadow{layer: l(passing{next}), next: next, would: would, kinds: kinds}
	}
}

type shadow struct {
	layer, next Handler
	would       func(*Exchange, Refusal)
	kinds       []Refusal
}

// Serve implements Handler.
func (s *shadow) Serve(ctx context.Context, x *Exchange) error {
	passed, before := false, x.Problem
	err := s.layer.Serve(context.WithValue(ctx, passedKey{}, &passed), x)
	if err == nil || passed {
		return err
	}
	for _, kind := range s.kinds {
		if errors.Is(err, kind) {
			s.would(x, kind)
			x.Problem = before
			return s.next.Serve(ctx, x)
		}
	}
	return err
}

type passedKey struct{}

// passing notes that the layer let a request through.
type passing struct{ next Handler }

// Serve implements Handler.
func (p passing) Serve(ctx context.Context, x *Exchange) error {
	if passed, ok := ctx.Value(passedKey{}).(*bool); ok {
		*passed = true
	}
	return p.next.Serve(ctx, x)
}
