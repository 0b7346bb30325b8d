package dedup_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// dripping gives its beginning, then is pending for as long as a claim waits for it, then gives the rest.
type dripping struct {
	x           *pipeline.Exchange
	begin, rest *strings.Reader
}

func (d dripping) Read(p []byte) (int, error) {
	if d.begin.Len() > 0 {
		return d.begin.Read(p)
	}
	if d.x.Keyed {
		return 0, pipeline.ErrPending
	}
	return d.rest.Read(p)
}

func TestAnswerThatIsNotWholeByTheDeadlineIsSealedAndGoesOn(t *testing.T) {
	r := newRig(t)
	r.upstream = func(_ context.Context, x *pipeline.Exchange) error {
		x.Effect = pipeline.EffectDone
		x.Response.SetStatus(201)
		x.Response.SetStream(io.NopCloser(dripping{x, strings.NewReader("early, "), strings.NewReader("late")}), -1)
		return nil
	}
	m := post()
	err := r.handler.Serve(context.Background(), &m.Exchange)
	if !m.Sent.Streaming() || m.Keyed {
		t.Errorf("streaming %v, a claim is held %v", m.Sent.Streaming(), m.Keyed)
	}
	r.serve(post(), notKept.after(1)) // while the first still streams
	r.judge(m, err, want{status: 201, said: "executed", body: "early, late", calls: 1})
}
