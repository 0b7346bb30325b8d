package h2

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/upstream/h1"
	"github.com/oncegate/oncegate/internal/wire"
)

var heads = sync.Pool{New: func() any { return new([]byte) }}

// request makes what net/http sends. Its body is set by the caller.
func (k *call) request(host string) (*http.Request, error) {
	buf := heads.Get().(*[]byte)
	defer heads.Put(buf)
	head, err := h1.HeadOf((*buf)[:0], k.x, host)
	if err != nil {
		return nil, err
	}
	if cap(head.Fields) > cap(*buf) {
		*buf = head.Fields[:0]
	}
	scheme := "http"
	if k.c.pool.dialer.TLS != nil {
		scheme = "https"
	}
	u := &url.URL{Scheme: scheme, Host: head.Host}
	u.Opaque, u.RawQuery, u.ForceQuery = splitTarget(head.Target)
	if strings.HasPrefix(u.Opaque, "//") { // net/http would take it for an authority
		return nil, fmt.Errorf("%w: a path that begins with two slashes", pipeline.Internal)
	}
	q := &http.Request{Method: string(k.x.Request.Method()), URL: u, Host: head.Host, Header: k.fields(head.Fields),
		Proto: "HTTP/2.0", ProtoMajor: 2}
	trace := &httptrace.ClientTrace{WroteHeaders: func() { k.wrote.Store(true) }}
	k.ctx, k.cancel = context.WithCancel(httptrace.WithClientTrace(context.Background(), trace))
	return q.WithContext(k.ctx), nil
}

func splitTarget(target string) (path, query string, force bool) {
	path, query, found := strings.Cut(target, "?")
	return path, query, found && query == ""
}

// fields makes a table of the lines of a head. Names are in lower case, as HTTP/2 wants them.
func (k *call) fields(lines []byte) http.Header {
	n := bytes.Count(lines, []byte{'\n'})
	for i, start := 0, true; i < len(lines); i++ {
		switch c := lines[i]; {
		case c == '\n':
			start = true
		case c == ':':
			start = false
		case start && c >= 'A' && c <= 'Z':
			lines[i] = c + 'a' - 'A'
		}
	}
	text, values := string(lines), make([]string, 0, n)
	table := make(map[string][]string, n+2) // the methods of http.Header want other names
	for len(text) > 0 {
		line, rest, _ := strings.Cut(text, "\r\n")
		text = rest
		name, value, _ := strings.Cut(line, ": ")
		if had, again := table[name]; again {
			table[name] = append(had, value)
			continue
		}
		values = append(values, value)
		table[name] = values[len(values)-1 : len(values) : len(values)]
	}
	if _, named := table["user-agent"]; !named {
		table["user-agent"] = []string{""} // else net/http names itself
	}
	if k.grpc {
		table["te"] = []string{"trailers"}
		if k.hard > 0 {
			table["grpc-timeout"] = []string{grpcTimeout(k.hard - k.start.Sub(k.x.Start))}
		}
	} else if bytes.EqualFold(k.x.Request.Header("Te"), []byte("trailers")) {
		table["te"] = []string{"trailers"}
	}
	return table
}

// asked is the time that a gRPC client gives its call; 0: it does not say.
func asked(x *pipeline.Exchange) time.Duration {
	text := x.Request.Header("grpc-timeout")
	if len(text) < 2 || len(text) > 9 {
		return 0
	}
	n, err := strconv.ParseUint(string(text[:len(text)-1]), 10, 32)
	unit := map[byte]time.Duration{'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond}[text[len(text)-1]]
	if err != nil {
		return 0
	}
	return min(time.Duration(n)*unit, maxAsked)
}

const maxAsked = 99999 * time.Hour

// grpcTimeout is what is left, in at most eight digits (gRPC over HTTP/2, Timeout).
func grpcTimeout(left time.Duration) string {
	const digits = 99_999_999
	for _, u := range []struct {
		size time.Duration
		name string
	}{{time.Nanosecond, "n"}, {time.Microsecond, "u"}, {time.Millisecond, "m"}, {time.Second, "S"}} {
		if n := max(left, 0) / u.size; n <= digits {
			return strconv.FormatInt(int64(n), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(left/time.Hour), 10) + "H"
}

// source is the body of a request as net/http reads it, from a goroutine of its own: nothing borrowed is touched after stop.
type source struct {
	k      *call
	stream io.Reader
	how    func()        // ends a read of the stream; nil: the reader can't be asked to, so only its own goroutine reads it
	length int64         // -1: not known
	q      *http.Request // gets the trailers

	mu   sync.Mutex
	rest []byte // of a body that is in memory
	over bool
}

// interrupt ends a read of the client's body that may last, so that nothing is touched when the exchange is over.
func (s *source) interrupt(wait bool) { s.k.clock.interrupt(s.how, wait) }

// Read gives what the client sent. The time that the client takes is its own.
func (s *source) Read(p []byte) (int, error) {
	if s.stream == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.over {
			return 0, http.ErrBodyReadAfterClose
		}
		n := copy(p, s.rest)
		if s.rest = s.rest[n:]; len(s.rest) == 0 {
			s.k.clock.moved(time.Now(), true)
			return n, io.EOF
		}
		s.k.clock.moved(time.Now(), false)
		return n, nil
	}
	if !s.k.clock.reads(time.Now()) {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := s.stream.Read(p)
	if s.length > 0 {
		s.length -= int64(n)
	}
	switch {
	case err == io.EOF && s.length > 0:
		err = fmt.Errorf("%w: the request's body ended before its Content-Length", pipeline.BadRequest)
	case err == nil && s.length == 0:
		err = io.EOF
	}
	if err == io.EOF && s.q.Trailer != nil {
		s.putTrailers()
	}
	s.k.clock.read(time.Now(), n, err)
	return n, err
}

// putTrailers hands the client's trailers to net/http, which sends them when it has seen the end.
func (s *source) putTrailers() {
	s.k.x.RequestTrailers.Each(func(name, value string) {
		if wire.TrailerAllowed([]byte(name)) {
			s.q.Trailer.Add(name, value)
		}
	})
}

// Close implements io.Closer: net/http needs no more, and waits for a Read to end.
func (s *source) Close() error {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.interrupt(false)
	return nil
}
