package pipeline

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// What a layer refuses with a named kind is counted and goes on; everything else stays as it is, above all what comes from below.
func TestShadow(t *testing.T) {
	for _, c := range []struct {
		name    string
		refuses error // of the layer; nil: it calls next
		below   error
		err     error
		would   Refusal
		calls   int
	}{
		{"it lets pass", nil, nil, nil, 0, 1},
		{"it refuses", fmt.Errorf("full: %w", Overloaded), nil, nil, Overloaded, 1},
		{"it refuses, and next fails", Overloaded, UpstreamFailed, UpstreamFailed, Overloaded, 1},
		{"another kind", Draining, nil, Draining, 0, 0},
		{"the same kind from below", nil, Overloaded, Overloaded, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var would Refusal
			calls, x := 0, &NewMemory("GET", "/").Exchange
			layer := func(next Handler) Handler {
				return HandlerFunc(func(ctx context.Context, x *Exchange) error {
					if c.refuses == nil {
						return next.Serve(ctx, x)
					}
					x.Problem.RetryAfter = 7
					return c.refuses
				})
			}
			end := HandlerFunc(func(_ context.Context, x *Exchange) error {
				if calls++; x.Problem.RetryAfter != 0 {
					t.Error("the refusal is still told")
				}
				return c.below
			})
			err := Compose(end, Shadow(layer, func(_ *Exchange, kind Refusal) { would = kind }, Overloaded)).Serve(t.Context(), x)
			if !errors.Is(err, c.err) || would != c.would || calls != c.calls {
				t.Errorf("%v, would %v, %d calls", err, would, calls)
			}
		})
	}
	if Shadow(nil, nil) != nil {
		t.Error("a layer that is left out came back")
	}
}
