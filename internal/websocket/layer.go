// Package websocket lets a route's clients go on in WebSocket (RFC 6455).
//
// It promises that without it no upgrade goes upstream; that a handshake passes every policy of its route like any other
// request, with the origin of a page checked where the route has cors; and that what the route holds for a request (seats,
// places, the in-flight counts) is held until the connection ends. Frames are not looked into: limits count handshakes, not
// messages. It keeps no state and can't fail.
package websocket

import (
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// Recorder counts open connections by route; it must not block.
type Recorder interface {
	Websockets(route string, change int)
}

const policyViolation = 1008 // RFC 6455, 7.4.1

// ErrOrigin is the refusal of a page that may not use the route.
var ErrOrigin = fmt.Errorf("%w: the origin may not open a WebSocket on this route", pipeline.Forbidden)

var errKey = fmt.Errorf("%w: Sec-WebSocket-Key is not sixteen bytes in Base64", pipeline.BadRequest)

// Layer lets handshakes pass; nil when it is off: then they are requests like others. allows says whether the page's origin
// may use the route; nil: every page may.
func Layer(cfg *Config, route string, allows func(pipeline.Request) bool, rec Recorder) pipeline.Layer {
	if cfg == nil || cfg.Off {
		return nil
	}
	return func(next pipeline.Handler) pipeline.Handler {
		l := &layer{cfg: *cfg, route: route, allows: allows, rec: rec, next: next}
		l.ended = l.end
		return l
	}
}

type layer struct {
	cfg    Config
	route  string
	allows func(pipeline.Request) bool
	rec    Recorder
	next   pipeline.Handler
	ended  func(*pipeline.Exchange, pipeline.End)
}

// Serve implements pipeline.Handler.
func (l *layer) Serve(ctx context.Context, x *pipeline.Exchange) error {
	if !x.Switch.Asked {
		return l.next.Serve(ctx, x)
	}
	if l.allows != nil && x.Request.Header("Origin") != nil && !l.allows(x.Request) && !sameOrigin(x) {
		return ErrOrigin
	}
	if !isKey(x.Request) {
		return errKey
	}
	x.Switch.Granted, x.Switch.Idle = true, l.cfg.Idle.Std()
	if err := l.next.Serve(ctx, x); err != nil || x.Switch.Tunnel == nil {
		return err
	}
	l.bound(x, time.Now())
	if l.rec != nil {
		l.rec.Websockets(l.route, 1)
		x.AtEnd(l.ended)
	}
	return nil
}

func (l *layer) end(*pipeline.Exchange, pipeline.End) { l.rec.Websockets(l.route, -1) }

// bound fixes the connection's end: that of its longest life or of the token, whichever comes first.
func (l *layer) bound(x *pipeline.Exchange, now time.Time) {
	if l.cfg.Max > 0 {
		x.Switch.End = now.Add(l.cfg.Max.Std())
	}
	if l.cfg.OnTokenEnd == "keep" || x.Client.Claims == nil {
		return
	}
	text, ok := x.Client.Claims.Claim("exp")
	if !ok {
		return
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || seconds < 0 || seconds > 1<<40 {
		return
	}
	if end := time.UnixMilli(int64(seconds * 1000)); x.Switch.End.IsZero() || end.Before(x.Switch.End) {
		x.Switch.End, x.Switch.Code = end, policyViolation
	}
}

// sameOrigin: the page comes from the host that it asks.
func sameOrigin(x *pipeline.Exchange) bool {
	scheme := "http://"
	if x.Secure {
		scheme = "https://"
	}
	origin := x.Request.Header("Origin")
	return len(origin) > len(scheme) && count(x.Request, "Origin") == 1 && string(origin[:len(scheme)]) == scheme &&
		wire.EqualFold(origin[len(scheme):], string(x.Request.Authority()))
}

func count(r pipeline.Request, name string) (n int) {
	for i := range r.Fields() {
		if field, _ := r.Field(i); wire.EqualFold(field, name) {
			n++
		}
	}
	return n
}

// isKey looks for the one nonce that the upstream's answer is checked against.
func isKey(r pipeline.Request) bool {
	var nonce [18]byte
	key := r.Header("Sec-WebSocket-Key")
	if len(key) != 24 || count(r, "Sec-WebSocket-Key") != 1 {
		return false
	}
	n, err := base64.StdEncoding.Decode(nonce[:], key)
	return err == nil && n == 16
}
