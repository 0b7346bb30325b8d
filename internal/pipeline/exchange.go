package pipeline

import (
	"context"
	"crypto/x509"
	"net/netip"
	"time"
)

// Exchange is one request with its answer: a pooled struct of named facts. Everything of type []byte is borrowed and valid
// until the exchange ends; what is kept longer is converted to a string, which copies. An exchange is used by one goroutine
// at a time.
type Exchange struct {
	Request  Request
	Response Response

	Peer     netip.AddrPort // the connection's other end
	PeerIP   []byte         // its address as text, made once for a connection; nil: nobody made it
	ClientIP netip.Addr     // the client's address behind trusted proxies, unmapped; the peer's when there are none
	Secure   bool           // the client's scheme is https: by TLS here, or as a trusted proxy says
	TLS      *TLS           // what the handshake on the client's connection said; nil: there was none
	Hops     []byte         // addresses that trusted proxies vouch for, the client's first; nil without such a proxy
	Asked    []byte         // host[:port] that a trusted proxy was asked for, to be passed on, never to be routed by; nil: none
	ID       []byte         // the request id, 1-128 visible ASCII characters
	Trace    Trace

	Start    time.Time // when the head had been read
	Deadline time.Time // bounds everything below the deadline layer; zero: none

	Route  string // the id of the route; "" when none took the request
	Params Params
	Client Client

	// Refused is the subject of a client that auth verified and that may not use the route (403). It is for the log only:
	// Client stays empty, so that nobody acts for one that was refused. It is owned.
	Refused string

	// Deferred is a limiter's refusal that dedup still has to decide on: a stored answer is replayed all the same. Whoever
	// finds it set and has nothing to replay returns it.
	Deferred error

	Effect   Effect
	Attempt  Attempt
	Outgoing Outgoing
	Problem  Problem
	Switch   Switch
	Keyed    bool       // a claim is held: the client's leaving does not stop the work, nothing is sent twice but as Again says, the deadline bounds the body
	Again    Redispatch // with Keyed: who sends the request again although it may have arrived asks first; nil: nobody may
	Replayed bool       // the answer comes from the store

	HTTP2           bool      // the client's connection is HTTP/2: trailers reach it, and it can be read from and written to at once
	RequestTrailers *Trailers // of the request, complete with its body's io.EOF; not nil from the start when the head announces some
	Trailers        *Trailers // of the answer: the end sets it with a body that may have them, the edge sends them after the body

	liveness Liveness
	ends     [8]func(*Exchange, End)
	nends    int
}

// TLS is what a connection's handshake said. It is immutable and lives as long as the connection.
type TLS struct {
	ServerName  string            // SNI in lower case; "" when the client sent none
	Certificate *x509.Certificate // the client's, verified against listen.tls.client_ca; nil: it showed none
	Thumbprint  [32]byte          // SHA-256 of Certificate (x5t#S256 of RFC 8705, 3.1); zero without one
	Names       []string          // of Certificate's SAN: uri:spiffe://a/b, dns:a.example, email:me@a.example; domains in lower case
}

// Redispatch is the claim of a keyed write whose upstream deduplicates by itself. Redispatch readies it, and what is sent
// upstream, for a dispatch more; false: the claim is somebody else's by now, or the store does not answer, and nothing may be
// sent.
type Redispatch interface {
	Redispatch(ctx context.Context) bool
}

// Attempt is what the log and the metrics say of the calls to an upstream. The strings are owned by the snapshot.
type Attempt struct {
	Upstream string        // name in the document
	Target   string        // host:port of the last try
	Count    int           // dispatches that were begun
	Once     bool          // whoever calls tries again by itself: one dispatch a call
	Duration time.Duration // from the first pick to the answer's head, in all tries
	Broken   bool          // the answer's body broke off after its head had been passed on
	Late     int           // the HTTP status that the answer's trailers stand for: of gRPC, see GRPCAsHTTP; 0: none
	At       time.Time     // when the answer's head was complete; zero without one
	Tried    Tried         // where the tries went, so that a further one goes elsewhere
	Retried  string        // why the latest further try was made: connect, reset, timeout, a status or hedge; "": there was none
	Fallback string        // what took over: an upstream, or respond; "": nothing
	Counted  Counted       // what the metrics have of it already
}

// Counted is the part of an Attempt's sums that calls took whose answers a fallback gave up.
type Counted struct {
	Count    int
	Duration time.Duration
}

// Join takes over what calls made beside say, and keeps the sums of both.
func (a *Attempt) Join(b Attempt) {
	b.Once, b.Fallback, b.Counted = a.Once, a.Fallback, a.Counted
	b.Count += a.Count
	b.Duration += a.Duration
	if b.Retried == "" {
		b.Retried = a.Retried
	}
	*a = b
}

// Tried is places in a list of targets that only its upstream knows; the zero value is none.
type Tried struct {
	Of any // the list that the places belong to
	at [10]uint16
	n  int
}

// Add notes a place. Past ten the oldest is forgotten.
func (t *Tried) Add(i int) {
	t.at[t.n%len(t.at)] = uint16(i)
	t.n++
}

// Has tells whether a place was noted.
func (t *Tried) Has(i int) bool {
	for _, at := range t.at[:min(t.n, len(t.at))] {
		if int(at) == i {
			return true
		}
	}
	return false
}

// None tells that nothing was noted.
func (t *Tried) None() bool { return t.n == 0 }

// Client is who asks, as auth verified it; the zero value is anonymous. It is immutable and owns its strings.
type Client struct {
	Identity string // issuer and subject, unambiguous: the key of limits and records
	Subject  string // what logs show
	Issuer   string // the issuer's name in the document
	Claims   Claims // nil when anonymous
}

// Anonymous reports whether nobody was authenticated.
func (c *Client) Anonymous() bool { return c.Identity == "" }

// Claims gives verified claims. Scalars are their text, lists and objects compact JSON. The string is owned.
type Claims interface {
	Claim(name string) (string, bool)
}

// Trace is the W3C trace context: continued from the client or begun here.
type Trace struct {
	ID     [16]byte
	Parent [8]byte // the caller's span; zero when begun here
	Span   [8]byte // ours, the parent of what the upstream does
	Flags  byte
	State  []byte // tracestate, borrowed; nil when begun here
}

// Liveness tells whether the client is still connected.
type Liveness interface{ Gone() bool }

// End is what is known after the last byte.
type End struct {
	Status            int
	Kind              Refusal // 0: answered by the upstream, the store or the route itself
	Err               error   // the refusal with its chain, for the log
	BytesIn, BytesOut int64   // bodies, without heads
	Aborted           bool    // the answer did not reach the client whole
	At                time.Time
}

// Gone reports that the client left. It costs a system call on h1: ask only after a wait.
func (x *Exchange) Gone() bool { return x.liveness != nil && x.liveness.Gone() }

// Left is closed when the client leaves. It is nil on an edge that can only be asked: see Gone. It also closes when the
// exchange is over. A keyed exchange goes on all the same.
func (x *Exchange) Left() <-chan struct{} {
	if l, ok := x.liveness.(interface{ Left() <-chan struct{} }); ok {
		return l.Left()
	}
	return nil
}

// AtEnd has f run once, after the last byte of the answer, in the reverse order of registration. f must not be a fresh
// closure on the hot path; keep one per layer. More than eight are a programming error.
func (x *Exchange) AtEnd(f func(*Exchange, End)) {
	x.ends[x.nends] = f
	x.nends++
}

// Mark remembers what is registered with AtEnd now, for Abandon.
func (x *Exchange) Mark() int { return x.nends }

// Abandon ends an attempt whose answer is given up for another try: the response is emptied, what was registered since mark
// runs, and what the attempt said of itself is forgotten.
func (x *Exchange) Abandon(mark int, end End) {
	x.dropTunnel()
	x.Response.Reset()
	for x.nends > mark {
		x.nends--
		x.ends[x.nends](x, end)
	}
	x.Attempt.Broken, x.Attempt.Late, x.Attempt.At, x.Trailers = false, 0, time.Time{}, nil
}

// Begin readies a pooled exchange for a request. The edge calls it and fills in the facts it knows.
func (x *Exchange) Begin(req Request, resp Response, live Liveness) {
	// Everything by name: the arrays make up most of the struct, and what is beyond their counts is never read.
	x.Request, x.Response, x.liveness = req, resp, live
	x.Peer, x.PeerIP, x.ClientIP, x.Secure, x.TLS = netip.AddrPort{}, nil, netip.Addr{}, false, nil
	x.Hops, x.Asked, x.ID, x.Trace = nil, nil, nil, Trace{}
	x.Start, x.Deadline = time.Time{}, time.Time{}
	x.Route, x.Params.Names, x.Client, x.Refused = "", nil, Client{}, ""
	x.Deferred, x.Effect, x.Attempt, x.Problem = nil, EffectNone, Attempt{}, Problem{}
	x.Outgoing.reset()
	x.Switch = Switch{}
	x.Keyed, x.Again, x.Replayed, x.nends = false, nil, false, 0
	x.HTTP2, x.RequestTrailers, x.Trailers = false, nil, nil
}

// Finish runs what AtEnd registered. The edge calls it once, after the last byte.
func (x *Exchange) Finish(end End) {
	x.dropTunnel()
	for x.nends > 0 {
		x.nends--
		x.ends[x.nends](x, end)
	}
}

// Remaining is the time to the deadline, at most limit; limit 0 means no limit of its own. ok is false when nothing bounds
// the step.
func (x *Exchange) Remaining(now time.Time, limit time.Duration) (time.Duration, bool) {
	if x.Deadline.IsZero() {
		return limit, limit > 0
	}
	rest := x.Deadline.Sub(now)
	if limit > 0 && limit < rest {
		rest = limit
	}
	return rest, true
}
