package pipeline

import (
	"net"
	"time"
)

// Switch is an exchange's wish to go on in another protocol, WebSocket (RFC 6455), on the client's connection. Three say
// their part: the edge that it was asked, the route's layer that it may be and within which times, the upstream what it got.
type Switch struct {
	Asked   bool // by the client, in a form that an edge can grant; set by the edge
	Granted bool // by a layer of the route: the end asks the upstream for it

	Idle time.Duration // a tunnel in which nothing moves for so long ends
	End  time.Time     // when it ends in any case; zero: never
	Code uint16        // of the Close frame that End sends

	// Tunnel is the upstream's side once it has answered 101: the response then holds the fields of that answer. Whoever
	// gives the exchange up closes it; on success the edge does.
	Tunnel Tunnel
}

// Tunnel is a connection to an upstream that speaks HTTP no more. Close may be called again.
type Tunnel interface {
	net.Conn
	CloseWrite() error // says that nothing more comes, and leaves the other direction open
}

// dropTunnel closes a tunnel that was not taken over.
func (x *Exchange) dropTunnel() {
	if x.Switch.Tunnel != nil {
		_ = x.Switch.Tunnel.Close()
		x.Switch.Tunnel = nil
	}
}
