package edge_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// said is one request, before it is said in a protocol.
type said struct {
	method, target, authority string
	fields, trailers          [][2]string
	body                      []byte
	framing                   byte     // framedNone and so on
	lengths                   []string // framedAs
	undeclared                bool     // nothing tells of the trailers beforehand
}

const (
	framedNone    = iota // no body, and no word of one
	framedSized          // its length is told, rightly
	framedUnknown        // its length is not told: chunks
	framedAs             // a length is told, whatever it is
)

const canary = "GET /canary HTTP/1.1\r\nHost: canary\r\nConnection: close\r\n\r\n"

// exact reports that the body is as long as announced.
func (s *said) exact() bool {
	if s.framing != framedAs {
		return true
	}
	n, err := strconv.ParseUint(s.lengths[0], 10, 62)
	return len(s.lengths) == 1 && err == nil && int(n) == len(s.body)
}

func (s *said) all() [][2]string {
	all := slices.Clone(s.fields)
	switch s.framing {
	case framedSized:
		all = append(all, [2]string{"content-length", strconv.Itoa(len(s.body))})
	case framedAs:
		for _, length := range s.lengths {
			all = append(all, [2]string{"content-length", length})
		}
	}
	if len(s.trailers) > 0 && !s.undeclared {
		var names []string
		for _, f := range s.trailers {
			names = append(names, f[0])
		}
		all = append(all, [2]string{"trailer", strings.Join(names, ",")})
	}
	return all
}

// lines are the bytes of HTTP/1.1. Where the body's end is certain a canary follows.
func (s *said) lines() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", s.method, s.target)
	if s.authority != "" {
		fmt.Fprintf(&b, "Host: %s\r\n", s.authority)
	}
	for _, f := range s.all() {
		fmt.Fprintf(&b, "%s: %s\r\n", f[0], f[1])
	}
	switch s.framing {
	case framedUnknown:
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		if len(s.body) > 0 {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(s.body), s.body)
		}
		b.WriteString("0\r\n")
		for _, f := range s.trailers {
			fmt.Fprintf(&b, "%s: %s\r\n", f[0], f[1])
		}
		b.WriteString("\r\n")
	case framedNone:
		b.WriteString("\r\n")
	default:
		b.WriteString("\r\n")
		b.Write(s.body)
	}
	if s.exact() {
		b.WriteString(canary)
	}
	return b.Bytes()
}

// overH1 gives the answer, and what became of the canary: "" when the connection ended before it.
func (p *twinPort) overH1(s *said, c net.Conn) (a answer, canaried string, err error) {
	defer c.Close()
	go func() {
		_, _ = c.Write(s.lines())
		if !s.exact() {
			_ = c.(interface{ CloseWrite() error }).CloseWrite()
		}
	}()
	in := bufio.NewReader(c)
	if a, err = readAnswer(in, s.method); err != nil || a.parted != "" {
		return a, "", err
	}
	next, err := readAnswer(in, "GET")
	if err != nil || next.parted != "" {
		return a, "", err
	}
	return a, next.body, nil
}

func readAnswer(in *bufio.Reader, method string) (a answer, err error) {
	for {
		got, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return answer{parted: "closed"}, timedOut(err)
		}
		if got.StatusCode == 100 {
			continue
		}
		text, err := io.ReadAll(got.Body)
		if err != nil {
			return answer{parted: "broken off"}, timedOut(err)
		}
		a = answer{status: got.StatusCode, body: string(text)}
		for name, values := range got.Header {
			for _, value := range values {
				a.add(name, value)
			}
		}
		slices.Sort(a.fields)
		return a, nil
	}
}

// add leaves out what differs by time or protocol.
func (a *answer) add(name, value string) {
	switch name = strings.ToLower(name); name {
	case "date", "x-request-id", "connection":
		return
	}
	a.fields = append(a.fields, name+"="+value)
}

func timedOut(err error) error {
	if t, ok := err.(interface{ Timeout() bool }); ok && t.Timeout() {
		return errUnheard
	}
	return nil
}

// overH2 says the request in one stream; names go as they are, so that they can be wrong.
func (p *twinPort) overH2(s *said, c net.Conn) (a answer, err error) {
	defer c.Close()
	go func() {
		_, _ = io.WriteString(c, http2.ClientPreface)
		fr := http2.NewFramer(c, nil)
		_ = fr.WriteSettings()
		s.frames(fr)
	}()
	fr := http2.NewFramer(io.Discard, c)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	fr.SetMaxReadFrameSize(1 << 20)
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			a.parted = "closed"
			return a, timedOut(err)
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			if f.PseudoValue("status") == "100" {
				continue
			}
			if a.status == 0 {
				a.status, _ = strconv.Atoi(f.PseudoValue("status"))
				for _, field := range f.RegularFields() {
					a.add(field.Name, field.Value)
				}
				slices.Sort(a.fields)
			}
		case *http2.DataFrame:
			a.body += string(f.Data())
		case *http2.RSTStreamFrame:
			a.parted = f.ErrCode.String()
			return a, nil
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				a.parted = f.ErrCode.String()
				return a, nil
			}
		}
		if f.Header().StreamID == 1 && f.Header().Flags.Has(http2.FlagDataEndStream) && a.status != 0 {
			return a, nil
		}
	}
}

func (s *said) frames(fr *http2.Framer) {
	var buf bytes.Buffer
	enc := hpack.NewEncoder(&buf)
	put := func(name, value string) { _ = enc.WriteField(hpack.HeaderField{Name: name, Value: value}) }
	put(":method", s.method)
	put(":scheme", "http")
	if s.authority != "" {
		put(":authority", s.authority)
	}
	put(":path", s.target)
	for _, f := range s.all() {
		put(f[0], f[1])
	}
	head := buf.Bytes()
	open := s.framing == framedUnknown || len(s.body) > 0 && s.framing != framedNone
	first := head[:min(len(head), 8<<10)]
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first, EndStream: !open, EndHeaders: len(first) == len(head)})
	for rest := head[len(first):]; len(rest) > 0; {
		n := min(len(rest), 8<<10)
		_ = fr.WriteContinuation(1, n == len(rest), rest[:n])
		rest = rest[n:]
	}
	if !open {
		return
	}
	trailing := len(s.trailers) > 0 && s.framing == framedUnknown
	half := len(s.body) / 2
	_ = fr.WriteData(1, false, s.body[:half])
	_ = fr.WriteDataPadded(1, !trailing, s.body[half:], make([]byte, half%200))
	if !trailing {
		return
	}
	buf.Reset()
	for _, f := range s.trailers {
		put(f[0], f[1])
	}
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: buf.Bytes(), EndStream: true, EndHeaders: true})
}
