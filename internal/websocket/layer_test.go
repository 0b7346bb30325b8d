package websocket

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

type claims map[string]string

func (c claims) Claim(name string) (string, bool) { v, ok := c[name]; return v, ok }

type tunnel struct{ net.Conn }

func (tunnel) CloseWrite() error { return nil }
func (tunnel) Close() error      { return nil }

type gauge map[string]int

func (g gauge) Websockets(route string, change int) { g[route] += change }

func asking(headers ...string) *pipeline.Memory {
	m := pipeline.NewMemory("GET", "/ws").WithHost("a").WithHeader("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	for i := 0; i < len(headers); i += 2 {
		m.WithHeader(headers[i], headers[i+1])
	}
	m.Switch.Asked = true
	return m
}

func TestBounds(t *testing.T) {
	now := time.Unix(1000, 0)
	for name, c := range map[string]struct {
		cfg    Config
		claims pipeline.Claims
		end    time.Time
		code   uint16
	}{
		"no end":            {Config{}, nil, time.Time{}, 0},
		"life":              {Config{Max: units.Duration(time.Minute)}, nil, time.Unix(1060, 0), 0},
		"token":             {Config{OnTokenEnd: "close"}, claims{"exp": "1030"}, time.Unix(1030, 0), policyViolation},
		"fraction":          {Config{OnTokenEnd: "close"}, claims{"exp": "1030.5"}, time.UnixMilli(1030500), policyViolation},
		"kept":              {Config{OnTokenEnd: "keep"}, claims{"exp": "1030"}, time.Time{}, 0},
		"life before token": {Config{Max: units.Duration(10 * time.Second), OnTokenEnd: "close"}, claims{"exp": "1030"}, time.Unix(1010, 0), 0},
		"token before life": {Config{Max: units.Duration(time.Minute), OnTokenEnd: "close"}, claims{"exp": "1030"}, time.Unix(1030, 0), policyViolation},
		"no exp":            {Config{OnTokenEnd: "close"}, claims{}, time.Time{}, 0},
		"odd exp":           {Config{OnTokenEnd: "close"}, claims{"exp": "soon"}, time.Time{}, 0},
	} {
		l, m := layer{cfg: c.cfg}, asking()
		m.Client.Claims = c.claims
		l.bound(&m.Exchange, now)
		if !m.Switch.End.Equal(c.end) || m.Switch.Code != c.code {
			t.Errorf("%s: %v %d", name, m.Switch.End, m.Switch.Code)
		}
	}
}

func TestLayer(t *testing.T) {
	g := gauge{}
	opens := pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error {
		if x.Switch.Granted {
			x.Switch.Tunnel = tunnel{}
		}
		return nil
	})
	h := Layer(&Config{Idle: units.Duration(time.Minute)}, "r", nil, g)(opens)
	m := asking()
	if err := h.Serve(context.Background(), &m.Exchange); err != nil || !m.Switch.Granted || m.Switch.Idle != time.Minute || g["r"] != 1 {
		t.Errorf("%v %+v %v", err, m.Switch, g)
	}
	if m.Finish(pipeline.End{}); g["r"] != 0 {
		t.Errorf("%v at its end", g)
	}
	plain := asking()
	plain.Switch.Asked = false
	if err := h.Serve(context.Background(), &plain.Exchange); err != nil || plain.Switch.Granted || g["r"] != 0 {
		t.Errorf("%v: a request that does not ask was granted", err)
	}
	never := Layer(&Config{}, "r", func(pipeline.Request) bool { return false }, nil)(opens)
	for origin, want := range map[string]error{"https://b": ErrOrigin, "http://a": nil, "https://a": ErrOrigin, "null": ErrOrigin, "http://": ErrOrigin} {
		m := asking("Origin", origin)
		if err := never.Serve(context.Background(), &m.Exchange); !errors.Is(err, want) || want != nil && m.Switch.Granted {
			t.Errorf("%s: %v", origin, err)
		}
	}
	if Layer(nil, "r", nil, nil) != nil || Layer(&Config{Off: true}, "r", nil, nil) != nil {
		t.Error("a layer that is off")
	}
}

func TestWords(t *testing.T) {
	var c Config
	if c.FromScalar("maybe") == nil || c.FromScalar("false") != nil || !c.Off || c.FromScalar("true") != nil || c.Off {
		t.Errorf("%+v", c)
	}
	c = Config{Idle: units.Duration(time.Minute), Max: units.Duration(time.Hour), OnTokenEnd: "keep"}
	if got := c.Words(); got != "allowed, idle for at most 1m, for at most 1h; it outlives its token" {
		t.Error(got)
	}
}
