package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// heard is a request as a scripted upstream read it.
type heard struct {
	method, path, query string
	fields              [][2]string
	body                string
	conn                int
}

// all gives the values of a field.
func (h heard) all(name string) (values []string) {
	for _, f := range h.fields {
		if strings.EqualFold(f[0], name) {
			values = append(values, f[1])
		}
	}
	return values
}

// act is what the upstream does with a request that it has read whole; false ends the connection.
type act func(c net.Conn, r heard) bool

// scripted is an upstream on bare sockets. It notes each request before it acts. Each path has a list of acts, used in
// turn, the last for ever; without one the answer is 201 with a count.
type scripted struct {
	t    *testing.T
	ln   net.Listener
	url  string
	stop chan struct{}

	mu    sync.Mutex
	acts  map[string][]act
	early map[string]act // done when the head is read, before the body
	seen  []heard
	conns int
	open  []net.Conn
}

func script(t *testing.T) *scripted {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{t: t, ln: ln, url: "http://" + ln.Addr().String(), acts: map[string][]act{}, early: map[string]act{}, stop: make(chan struct{})}
	go s.accept()
	t.Cleanup(s.close)
	return s
}

func (s *scripted) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.stop:
		return
	default:
	}
	close(s.stop)
	s.ln.Close()
	for _, c := range s.open {
		c.Close()
	}
}

func (s *scripted) accept() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns++
		n := s.conns
		s.open = append(s.open, c)
		s.mu.Unlock()
		go s.serve(c, n)
	}
}

func (s *scripted) on(path string, acts ...act) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acts[path] = acts
}

// before has the path answered when the head is read, before the body.
func (s *scripted) before(path string, do act) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.early[path] = do
}

func (s *scripted) serve(c net.Conn, n int) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		r, length, ok := readHead(in)
		if !ok {
			return
		}
		r.conn = n
		if !s.hurry(c, in, r) {
			return
		}
		body := make([]byte, length)
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		r.body = string(body)
		s.mu.Lock()
		s.seen = append(s.seen, r)
		do := answers(201, fmt.Sprintf(`{"n":%d}`, len(s.seen)), "Content-Type: application/json")
		if acts := s.acts[r.path]; len(acts) > 0 {
			if do = acts[0]; len(acts) > 1 {
				s.acts[r.path] = acts[1:]
			}
		}
		s.mu.Unlock()
		if !do(c, r) {
			return
		}
	}
}

// hurry does what is to be done before the body is read, if anything, and notes the request then.
func (s *scripted) hurry(c net.Conn, in *bufio.Reader, r heard) (goOn bool) {
	s.mu.Lock()
	do := s.early[r.path]
	if do != nil {
		s.seen = append(s.seen, r)
	}
	s.mu.Unlock()
	if do == nil {
		return true
	}
	if do(c, r) {
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, in) // lingers, so that the answer is not lost by a reset
	}
	return false
}

// readHead takes a request's head, and gives the length of its body.
func readHead(in *bufio.Reader) (r heard, length int, ok bool) {
	first, err := in.ReadString('\n')
	words := strings.Fields(first)
	if err != nil || len(words) != 3 {
		return r, 0, false
	}
	r.method = words[0]
	r.path, r.query, _ = strings.Cut(words[1], "?")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return r, 0, false
		}
		name, value, found := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		if !found {
			return r, length, true
		}
		value = strings.TrimSpace(value)
		r.fields = append(r.fields, [2]string{name, value})
		if strings.EqualFold(name, "Content-Length") { // keyed bodies are whole when they are sent: no chunks
			length, _ = strconv.Atoi(value)
		}
	}
}

func (s *scripted) heard(path string) (all []heard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.seen {
		if r.path == path {
			all = append(all, r)
		}
	}
	return all
}

// count wants that the path was executed n times.
func (s *scripted) count(path string, n int) {
	s.t.Helper()
	if got := len(s.heard(path)); got != n {
		s.t.Errorf("%s reached the upstream %d times, wanted %d", path, got, n)
	}
}

func (s *scripted) await(path string, n int) {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); len(s.heard(path)) < n; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("%s did not reach the upstream %d times", path, n)
		}
	}
}

// says writes the text and keeps the connection.
func says(text string) act {
	return func(c net.Conn, _ heard) bool {
		_, err := io.WriteString(c, text)
		return err == nil
	}
}

// answers is an answer with a length.
func answers(status int, body string, fields ...string) act {
	return says(fmt.Sprintf("HTTP/1.1 %d X\r\n%sContent-Length: %d\r\n\r\n%s", status, lines(fields), len(body), body))
}

// chunked is an answer in chunks, without a length.
func chunked(status int, pieces []string, fields ...string) act {
	text := fmt.Sprintf("HTTP/1.1 %d X\r\n%sTransfer-Encoding: chunked\r\n\r\n", status, lines(fields))
	for _, p := range pieces {
		text += fmt.Sprintf("%x\r\n%s\r\n", len(p), p)
	}
	return says(text + "0\r\n\r\n")
}

func lines(fields []string) (text string) {
	for _, f := range fields {
		text += f + "\r\n"
	}
	return text
}

// then does one thing after the other.
func then(acts ...act) act {
	return func(c net.Conn, r heard) bool {
		for _, a := range acts {
			if !a(c, r) {
				return false
			}
		}
		return true
	}
}

func closes(net.Conn, heard) bool { return false }

// resets ends the connection with RST.
func resets(c net.Conn, _ heard) bool {
	_ = c.(*net.TCPConn).SetLinger(0)
	return false
}

func pauses(d time.Duration) act {
	return func(net.Conn, heard) bool { time.Sleep(d); return true }
}

// until waits for the channel.
func until(c <-chan struct{}) act {
	return func(net.Conn, heard) bool { <-c; return true }
}

// silence says nothing until the other end goes.
func silence(c net.Conn, _ heard) bool {
	_, _ = io.Copy(io.Discard, c)
	return false
}

// reply is an answer byte for byte.
type reply struct {
	status int
	fields [][2]string
	body   string
	err    error // the answer did not come whole
}

func (r reply) all(name string) []string { return heard{fields: r.fields}.all(name) }

func (r reply) get(name string) string { return strings.Join(r.all(name), "|") }

func (r reply) names() (names []string) {
	for _, f := range r.fields {
		names = append(names, strings.ToLower(f[0]))
	}
	slices.Sort(names)
	return names
}

// post is a request text.
func post(method, target, body string, fields ...string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: api\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n%s", method, target, lines(fields), len(body), body)
}

// raw sends text on a connection of its own and reads one answer to the connection's end.
func (g *gateway) raw(text string) reply {
	c, err := net.Dial("tcp", g.address)
	if err != nil {
		return reply{err: err}
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		return reply{err: err}
	}
	return readReply(bufio.NewReader(c))
}

func readReply(in *bufio.Reader) (r reply) {
	first, err := in.ReadString('\n')
	if err != nil {
		return reply{err: err}
	}
	_, _ = fmt.Sscanf(first, "HTTP/1.1 %d", &r.status)
	length, chunks := -1, false
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return reply{err: err}
		}
		name, value, found := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		if !found {
			break
		}
		value = strings.TrimSpace(value)
		r.fields = append(r.fields, [2]string{name, value})
		switch strings.ToLower(name) {
		case "content-length":
			length, _ = strconv.Atoi(value)
		case "transfer-encoding":
			chunks = true
		}
	}
	switch {
	case r.status == 204 || r.status == 304:
	case chunks:
		r.body, r.err = readChunks(in)
	default:
		body := make([]byte, max(length, 0))
		n, err := io.ReadFull(in, body)
		r.body, r.err = string(body[:n]), err
	}
	return r
}

func readChunks(in *bufio.Reader) (string, error) {
	var all strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return all.String(), err
		}
		n, err := strconv.ParseInt(strings.TrimSpace(line), 16, 32)
		if err != nil {
			return all.String(), err
		}
		piece := make([]byte, n+2)
		got, err := io.ReadFull(in, piece)
		all.Write(piece[:max(0, got-2)])
		if err != nil || n == 0 {
			return all.String(), err
		}
	}
}
