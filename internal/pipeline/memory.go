package pipeline

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// Memory is an exchange without a network, for tests of layers, handlers and routes. It behaves like an edge: fields keep
// their order, dropped fields are unseen, bodies are limited, streams are closed once. Everything can be inspected after.
//
//	m := pipeline.NewMemory("POST", "http://api.example.com/orders?x=1").WithHeader("Idempotency-Key", "k").WithBody([]byte("{}"))
//	m.Client = pipeline.Client{Identity: "a", Subject: "a"} // any fact of the exchange may be set
//	err := handler.Serve(ctx, &m.Exchange)
//	m.Sent.Status(), m.Sent.Header("X"), m.Sent.Body(), m.Sent.StreamClosed()
//	m.Outgoing.Fields() // what the layers want sent upstream
//	m.Finish(pipeline.End{Status: 200}) // runs what AtEnd registered
type Memory struct {
	Exchange
	Got  *MemoryRequest  // the same as Request, as its own type
	Sent *MemoryResponse // the same as Response, as its own type

	gone atomic.Bool
}

// NewMemory begins an exchange. target is a path with an optional query, or a URL whose host becomes the request's. Without
// one the host is api.example.com. The client is 192.0.2.1, the request id "test-id", Start the time of the call.
func NewMemory(method, target string) *Memory {
	m := &Memory{Got: newMemoryRequest(method, target), Sent: &MemoryResponse{status: 200}}
	m.Begin(m.Got, m.Sent, memoryLiveness{&m.gone})
	m.Peer = netip.MustParseAddrPort("192.0.2.1:40000")
	m.ClientIP = m.Peer.Addr()
	m.ID = []byte("test-id")
	m.Start = time.Now()
	return m
}

// WithHeader adds a request field; repeated names make repeated fields.
func (m *Memory) WithHeader(name, value string) *Memory {
	m.Got.fields = append(m.Got.fields, memoryField{name, value, false})
	return m
}

// WithHost sets host[:port] of the request.
func (m *Memory) WithHost(host string) *Memory {
	m.Got.authority = host
	return m
}

// WithBody gives the request a body of known length. b is kept, not copied.
func (m *Memory) WithBody(b []byte) *Memory {
	m.Got.content, m.Got.length = b, int64(len(b))
	return m
}

// WithChunkedBody gives the request a body whose length is not known beforehand.
func (m *Memory) WithChunkedBody(b []byte) *Memory {
	m.Got.content, m.Got.length = b, -1
	return m
}

// WithBodyError has reading the body fail with err after what was set by WithBody or WithChunkedBody.
func (m *Memory) WithBodyError(err error) *Memory {
	m.Got.fail = err
	if m.Got.length == 0 {
		m.Got.length = -1
	}
	return m
}

// Leave has the client hang up: Gone is true from now on. It may be called from another goroutine.
func (m *Memory) Leave() { m.gone.Store(true) }

type memoryLiveness struct{ gone *atomic.Bool }

func (l memoryLiveness) Gone() bool { return l.gone.Load() }
