package resilience

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

// number is 0 for what is none.
func number(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}

// answer is what a call gave.
type answer struct {
	status int
	header http.Header
	body   string
}

// kind is the last part of the problem's type, "" for what is none.
func (a answer) kind() string {
	doc := map[string]any{}
	_ = json.Unmarshal([]byte(a.body), &doc)
	kind, _ := doc["type"].(string)
	return strings.TrimPrefix(kind, "urn:oncegate:problem:")
}

// call sends one request on a connection of its own. headers are name, value, name, value.
func (g *gate) call(method, path, body string, headers ...string) (answer, error) {
	return callAt(g.address, method, path, body, headers...)
}

func callAt(address, method, path, body string, headers ...string) (answer, error) {
	return send(address, method, path, strings.NewReader(body), headers...)
}

// streamed sends a body of unknown length.
func (g *gate) streamed(method, path, body string, headers ...string) (answer, error) {
	return send(g.address, method, path, io.MultiReader(strings.NewReader(body)), headers...)
}

func send(address, method, path string, body io.Reader, headers ...string) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, body)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	got, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		return answer{}, err
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	return answer{got.StatusCode, got.Header, string(text)}, err
}

// want makes a call and wants a status, and a kind unless it is "".
func (g *gate) want(status int, kind, method, path, body string, headers ...string) answer {
	g.t.Helper()
	a, err := g.call(method, path, body, headers...)
	return g.wanted(status, kind, method+" "+path, a, err)
}

func (g *gate) wanted(status int, kind, what string, a answer, err error) answer {
	g.t.Helper()
	if err != nil {
		g.t.Fatalf("%s: %v; log: %.2000s", what, err, g.log)
	}
	if a.status != status || kind != "" && a.kind() != kind {
		g.t.Fatalf("%s: %d %s, wanted %d %s: %s", what, a.status, a.kind(), status, kind, a.body)
	}
	return a
}

// dialog is a client on a bare socket.
type dialog struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

func (g *gate) dialog() *dialog {
	g.t.Helper()
	c, err := net.Dial("tcp", g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	g.t.Cleanup(func() { _ = c.Close() })
	return &dialog{c, g.t, bufio.NewReader(c)}
}

func (d *dialog) say(text string) *dialog {
	_, _ = io.WriteString(d, text) // who is refused early may not take it all
	return d
}

// hear reads one answer.
func (d *dialog) hear(method string) (answer, error) {
	got, err := http.ReadResponse(d.in, &http.Request{Method: method})
	if err != nil {
		return answer{}, err
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if got.Close {
		got.Header.Set("Connection", "close") // net/http took it out
	}
	return answer{got.StatusCode, got.Header, string(body)}, err
}

// rest is all that comes until the gateway closes.
func (d *dialog) rest() (string, error) {
	b, err := io.ReadAll(d.in)
	return string(b), err
}

// load is steady traffic on kept connections, each request with an id of its own.
type load struct {
	workers int
	every   time.Duration // pace of each worker; 0: none
	next    func(n int64) (method, path, body string)
	address func() string

	sent, good atomic.Int64
	mu         sync.Mutex
	failures   []string
	slowest    time.Duration
	stop       chan struct{}
	group      sync.WaitGroup
}

// gets is load of GETs for a path.
func (g *gate) gets(workers int, every time.Duration, path string) *load {
	l := &load{workers: workers, every: every, next: func(int64) (string, string, string) { return "GET", path, "" }}
	return l.begin(g)
}

func (l *load) begin(g *gate) *load {
	if l.address == nil {
		l.address = func() string { return g.address }
	}
	l.stop = make(chan struct{})
	for range l.workers {
		l.group.Go(l.work)
	}
	return l
}

func (l *load) work() {
	transport := &http.Transport{} // RoundTrip alone would repeat a GET, too: a body that can't be read again stops it
	defer transport.CloseIdleConnections()
	for {
		select {
		case <-l.stop:
			return
		default:
		}
		began := time.Now()
		n := l.sent.Add(1)
		if err := l.one(transport, n); err != nil {
			l.mu.Lock()
			l.failures = append(l.failures, err.Error())
			l.mu.Unlock()
		} else {
			l.good.Add(1)
		}
		took := time.Since(began)
		l.mu.Lock()
		l.slowest = max(l.slowest, took)
		l.mu.Unlock()
		if rest := l.every - took; rest > 0 {
			time.Sleep(rest) // the pace
		}
	}
}

func (l *load) one(transport *http.Transport, n int64) error {
	method, path, body := l.next(n)
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+l.address()+path, io.MultiReader(strings.NewReader(body)))
	if err != nil {
		return err
	}
	r.ContentLength = int64(len(body))
	if body == "" {
		r.Body = http.NoBody
	}
	r.Header.Set("X-Request-Id", fmt.Sprintf("load-%d", n))
	got, err := transport.RoundTrip(r)
	if err != nil {
		return fmt.Errorf("request %d: %w", n, err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil || got.StatusCode != 200 {
		return fmt.Errorf("request %d: %d %.300s %w", n, got.StatusCode, text, err)
	}
	return nil
}

// end stops the load and gives what went wrong.
func (l *load) end() (failures []string, sent int64) {
	close(l.stop)
	l.group.Wait()
	return l.failures, l.sent.Load()
}

// flawless stops the load and wants no failure.
func (l *load) flawless(t *testing.T, what string) int64 {
	t.Helper()
	failures, sent := l.end()
	if len(failures) > 0 {
		t.Errorf("%s: %d of %d requests failed: %s", what, len(failures), sent, strings.Join(failures[:min(3, len(failures))], "; "))
	}
	return sent
}
