package h1

import (
	"context"
	"io"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// script is a body that gives one step at a time.
type script struct{ steps []any }

func (s *script) Read(p []byte) (int, error) {
	if len(s.steps) == 0 {
		return 0, io.EOF
	}
	step := s.steps[0]
	s.steps = s.steps[1:]
	if err, ok := step.(error); ok {
		return 0, err
	}
	return copy(p, step.(string)), nil
}

func (s *script) Close() error { return nil }

// A body that was pending when it was wanted whole stays a stream, with what was read of it.
func TestBufferOfAPendingBody(t *testing.T) {
	for name, c := range map[string]struct {
		size  int64
		steps []any
	}{
		"after some": {-1, []any{"abc", pipeline.ErrPending, "def"}}, "sized": {6, []any{"abc", pipeline.ErrPending, "def"}},
		"at once": {-1, []any{pipeline.ErrPending, "abc", "def"}}, "at its end": {6, []any{"abc", "def", pipeline.ErrPending}},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
				x.Response.SetStream(&script{c.steps}, c.size)
				if body, whole, err := x.Response.Buffer(100); body != nil || whole || err != nil {
					t.Errorf("%q, %v, %v", body, whole, err)
				}
				return nil
			})
			s.dial().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").answer("GET").is(t, 200, "abcdef")
		})
	}
}
