package gateway

import (
	"context"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// A client can shorten the route's time, not lengthen it; nonsense changes nothing (edge case 7: below the floor it is 504 at once).
func TestClientsDeadlines(t *testing.T) {
	const route = 10 * time.Second
	for _, c := range []struct {
		name, value, content string
		want                 time.Duration // 0: refused at once
	}{
		{"", "", "", route},
		{"X-Request-Timeout", "1500", "", 1500 * time.Millisecond},
		{"x-request-timeout", "99999999", "", route},
		{"X-Request-Timeout", "0", "", 0},
		{"X-Request-Timeout", "4", "", 0},
		{"X-Request-Timeout", "-1", "", route},
		{"X-Request-Timeout", "1s", "", route},
		{"X-Request-Timeout", "", "", route},
		{"X-Request-Timeout", "999999999", "", route},
		{"grpc-timeout", "300m", "application/grpc+proto", 300 * time.Millisecond},
		{"grpc-timeout", "2S", "application/grpc", 2 * time.Second},
		{"grpc-timeout", "1H", "application/grpc", route},
		{"grpc-timeout", "100u", "application/grpc", 0},
		{"grpc-timeout", "300m", "application/json", route},
		{"grpc-timeout", "m", "application/grpc", route},
		{"grpc-timeout", "3x", "application/grpc", route},
	} {
		m := pipeline.NewMemory("GET", "/").WithHeader(c.name, c.value).WithHeader("Content-Type", c.content)
		called := false
		err := deadline(route)(pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { called = true; return nil })).Serve(context.Background(), &m.Exchange)
		switch {
		case c.want == 0 && (pipeline.KindOf(err) != pipeline.UpstreamTimeout || called || m.Problem.Executed != pipeline.ExecutedNo):
			t.Errorf("%s: %s: %v, called %v", c.name, c.value, err, called)
		case c.want > 0 && (err != nil || !called || m.Deadline.Sub(m.Start) != c.want):
			t.Errorf("%s: %s: %v, %v", c.name, c.value, err, m.Deadline.Sub(m.Start))
		}
	}
}
