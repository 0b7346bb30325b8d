package edge

import "sync/atomic"

// Faults counts what ends connections and requests before a handler can see them. The zero value is ready.
type Faults struct{ counts [faultKinds]atomic.Uint64 }

// Fault is a kind of them.
type Fault uint8

// The kinds: of the port, of TLS, of HTTP/2.
const (
	Full           Fault = iota // refused: listen.limits.connections or connections_per_ip
	Silent                      // nothing came within read_timeout
	TLSNone                     // what came was no TLS
	TLSTimeout                  // no handshake within read_timeout
	TLSClosed                   // the client left in the handshake
	TLSCertificate              // the client's certificate, or that there was none
	TLSRefused                  // no version or suite in common, an alert, or bytes that are wrong
	H2Frame                     // a frame that is malformed or does not belong there
	H2Malformed                 // a request or trailers that are malformed
	H2Length                    // a body of another length than announced
	H2Window                    // more than the windows allow
	H2Streams                   // more requests at once than listen.limits.streams
	H2Flood                     // far more of them, by resets
	H2Other
	H2Connection // a connection that ended by GOAWAY with an error, for one of these reasons or another
	faultKinds
)

var faultNames = [faultKinds][2]string{
	{"port", "full"}, {"port", "silent"},
	{"tls", "no_tls"}, {"tls", "timeout"}, {"tls", "closed"}, {"tls", "certificate"}, {"tls", "refused"},
	{"http2", "frame"}, {"http2", "malformed"}, {"http2", "length"}, {"http2", "window"}, {"http2", "streams"}, {"http2", "flood"}, {"http2", "other"}, {"http2", "connection"},
}

// Add counts one.
func (f *Faults) Add(kind Fault) { f.counts[kind].Add(1) }

// EachFault gives the sums of all counters, kind by kind.
func EachFault(all []*Faults, yield func(at, fault string, n uint64)) {
	for kind, name := range faultNames {
		n := uint64(0)
		for _, f := range all {
			n += f.counts[kind].Load()
		}
		yield(name[0], name[1], n)
	}
}
