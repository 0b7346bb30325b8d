// Package access keeps out requests by the address that they come from.
//
// It promises that a request passes only when its client's address is in the allowed networks, if any are named, and in none
// of the denied ones; that IPv4 is the same inside IPv6; and that nobody passes whose address is not known. The address is the
// one behind trusted proxies: without those the other end of the connection, which nobody can forge. The cost does not grow
// with what is configured but by its logarithm, and nothing is allocated. It does not refuse connections: that is a
// firewall's. It keeps no state and can't fail.
package access

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// ErrAddress is the refusal: forbidden, without a challenge, because no credential would help.
var ErrAddress = fmt.Errorf("%w: no request is taken from the client's address", pipeline.Forbidden)

// Recorder counts what was refused: route is "" when the list of the whole port refused it.
type Recorder interface {
	AddressRefused(route string)
}

type nobody struct{}

func (nobody) AddressRefused(string) {}

// List decides by address. It is immutable; nil lets everybody pass.
type List struct {
	allow, deny *networks // nil: not named
	route       string
	recorder    Recorder
}

// New compiles the list of a route, or of the whole port when route is "". It is nil when the list is off or names nothing.
// Without a recorder nothing is counted.
func New(cfg *Config, route string, rec Recorder) (*List, error) {
	if cfg == nil || cfg.Off || len(cfg.Allow) == 0 && len(cfg.Deny) == 0 {
		return nil, nil
	}
	if rec == nil {
		rec = nobody{}
	}
	l := &List{route: route, recorder: rec}
	var err error
	if len(cfg.Allow) > 0 {
		if l.allow, err = newNetworks(cfg.Allow); err != nil {
			return nil, fmt.Errorf("addresses.allow: %w", err)
		}
	}
	if len(cfg.Deny) > 0 {
		if l.deny, err = newNetworks(cfg.Deny); err != nil {
			return nil, fmt.Errorf("addresses.deny: %w", err)
		}
	}
	return l, nil
}

// Admits reports whether an address may come in.
func (l *List) Admits(a netip.Addr) bool {
	if l == nil {
		return true
	}
	if a.Is4In6() {
		a = a.Unmap()
	}
	if !a.IsValid() || l.deny != nil && l.deny.has(a) {
		return false
	}
	return l.allow == nil || l.allow.has(a)
}

// Refuse counts a request that is not admitted, and gives its refusal.
func (l *List) Refuse(x *pipeline.Exchange) error {
	l.recorder.AddressRefused(l.route)
	x.Response.Set("Cache-Control", noStore)
	return ErrAddress
}

var noStore = []byte("no-store")

// Layer refuses whom the list keeps out, before anything is done for the request.
func (l *List) Layer() pipeline.Layer {
	if l == nil {
		return nil
	}
	return func(next pipeline.Handler) pipeline.Handler {
		return pipeline.HandlerFunc(func(ctx context.Context, x *pipeline.Exchange) error {
			if !l.Admits(x.ClientIP) {
				return l.Refuse(x)
			}
			return next.Serve(ctx, x)
		})
	}
}
