package h2

import (
	"context"
	"testing"

	"golang.org/x/net/http2"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// WebSocket over HTTP/2 (RFC 8441) is not announced, so browsers open HTTP/1.1 for it. Who asks all the same loses that stream:
// no handler sees it, and the connection goes on.
func TestExtendedConnectIsNotOffered(t *testing.T) {
	s := start(t, config(), func(ctx context.Context, x *pipeline.Exchange) error {
		if string(x.Request.Method()) != "GET" {
			t.Errorf("%s reached the handler", x.Request.Method())
		}
		return echo(ctx, x)
	})
	w := s.frames()
	if err := w.until(func(f http2.Frame) bool {
		settings, ok := f.(*http2.SettingsFrame)
		if !ok || settings.IsAck() {
			return false
		}
		if value, said := settings.Value(http2.SettingEnableConnectProtocol); said && value != 0 {
			t.Error("extended CONNECT is announced")
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	_ = w.head(1, false, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":authority", "a", ":path", "/ws", "sec-websocket-version", "13")
	if got := w.verdict(1); got != "RST PROTOCOL_ERROR" {
		t.Errorf("the stream ended with %s", got)
	}
	_ = w.head(3, true, plain...)
	if got := w.verdict(3); got != "200" {
		t.Errorf("the next one: %s", got)
	}
}
