package traffic

import (
	"context"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type claims map[string]string

func (c claims) Claim(name string) (string, bool) { v, ok := c[name]; return v, ok }

// named answers with the name of the upstream that was called.
func named(name string) pipeline.Handler {
	return pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error {
		x.Effect = pipeline.EffectDone
		x.Response.Set("X-From", []byte(name))
		return nil
	})
}

func from(t *testing.T, h pipeline.Handler, m *pipeline.Memory) string {
	t.Helper()
	if err := h.Serve(context.Background(), &m.Exchange); err != nil {
		t.Fatal(err)
	}
	return string(m.Sent.Header("X-From"))
}
