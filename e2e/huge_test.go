package e2e

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// bulk is how much the tests of huge bodies move: 256 MiB, or what ONCEGATE_BULK_MIB says.
func bulk(t *testing.T) int64 {
	text := os.Getenv("ONCEGATE_BULK_MIB")
	if text == "" {
		return 256 << 20
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return n << 20
}

// pattern gives n bytes that repeat with a period which is no power of two, so that lost and doubled pieces show.
type pattern struct{ at, n int64 }

func (p *pattern) Read(b []byte) (int, error) {
	if p.at == p.n {
		return 0, io.EOF
	}
	m := int(min(int64(len(b)), p.n-p.at))
	for done := 0; done < m; {
		k := copy(b[done:m], tile[(p.at+int64(done))%tilePeriod:])
		done += k
	}
	p.at += int64(m)
	return m, nil
}

const tilePeriod = 65521

var tile = func() []byte {
	b := make([]byte, 2*tilePeriod)
	for i := range tilePeriod {
		b[i] = byte(i*7 ^ i>>8)
	}
	copy(b[tilePeriod:], b[:tilePeriod])
	return b
}()

// same reads r to its end and compares it with the pattern.
func samePattern(r io.Reader, n int64) error {
	want, a, b, at := &pattern{n: n}, make([]byte, 256<<10), make([]byte, 256<<10), int64(0)
	for {
		m, err := r.Read(a)
		if m > 0 {
			if k, _ := io.ReadFull(want, b[:m]); k != m || !bytes.Equal(a[:m], b[:m]) {
				return fmt.Errorf("other bytes near %d", at)
			}
			at += int64(m)
		}
		switch {
		case err == io.EOF && at == n:
			return nil
		case err != nil:
			return fmt.Errorf("%d of %d: %w", at, n, err)
		}
	}
}

// hugeUpstream speaks HTTP/1.1 and HTTP/2 on clear text; it sends the pattern and checks what it is sent. The size is asked for by
// the request's path.
func hugeUpstream(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Protocols: protocols, ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind, size, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
		n, err := strconv.ParseInt(size, 10, 64)
		switch {
		case err != nil:
			http.Error(w, err.Error(), 400)
		case r.Method == "GET":
			if kind == "sized" {
				w.Header().Set("Content-Length", size)
			}
			_, _ = io.Copy(w, &pattern{n: n})
		default:
			if err := samePattern(r.Body, n); err != nil {
				http.Error(w, err.Error(), 500)
				return
			}
			_, _ = io.WriteString(w, "same")
		}
	})}
	go server.Serve(ln) //nolint:errcheck // ends with the test
	t.Cleanup(func() { _ = server.Close() })
	return ln.Addr().String()
}

// move sends or fetches n bytes.
func move(client *http.Client, base, method, kind string, n int64) error {
	var body io.Reader
	if method == "PUT" {
		body = &pattern{n: n}
	}
	r, err := http.NewRequest(method, fmt.Sprintf("%s/%s/%d", base, kind, n), body)
	if err != nil {
		return err
	}
	if kind == "sized" && body != nil {
		r.ContentLength = n
	}
	got, err := client.Do(r)
	if err != nil {
		return err
	}
	defer got.Body.Close()
	if method == "GET" {
		return samePattern(got.Body, n)
	}
	if text, _ := io.ReadAll(got.Body); string(text) != "same" {
		return fmt.Errorf("%d %s", got.StatusCode, text)
	}
	return nil
}

// moveAll does all four ways at the same time.
func moveAll(client *http.Client, base string, n int64) (failed []error) {
	done := make(chan error, 4)
	for _, c := range [][2]string{{"GET", "sized"}, {"GET", "chunked"}, {"PUT", "sized"}, {"PUT", "chunked"}} {
		go func() {
			err := move(client, base, c[0], c[1], n)
			if err != nil {
				err = fmt.Errorf("%s %s: %w", c[0], c[1], err)
			}
			done <- err
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

// Bodies of any size go through in constant memory, sized and not, up and down at the same time, whatever is spoken on either side.
func TestHugeBodies(t *testing.T) {
	cert, key := pair(t, t.TempDir(), "localhost")
	for _, way := range []struct {
		name, upstream string
		speaks         func(*http.Protocols)
		tls            bool
		part           int64 // of the bytes
	}{
		{"h1 to h1", "http", func(p *http.Protocols) { p.SetHTTP1(true) }, false, 1},
		{"h2 to h1", "http", func(p *http.Protocols) { p.SetHTTP2(true) }, true, 4},
		{"h2c to h2c", "h2c", func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }, false, 4},
		{"h1 to h2c", "h2c", func(p *http.Protocols) { p.SetHTTP1(true) }, false, 4},
	} {
		t.Run(way.name, func(t *testing.T) {
			n, base := bulk(t), "http://"
			if os.Getenv("ONCEGATE_BULK_MIB") == "" {
				n /= way.part
			}
			g := prepare(t, fmt.Sprintf("upstreams: { up: { targets: [\"%s://%s\"] } }\nroutes: [ { id: all, match: { path: /** }, auth: none, to: up, body: 100GiB } ]\n", way.upstream, hugeUpstream(t)))
			g.replace("listen: {", "listen: { limits: { body: 100GiB },")
			if way.tls {
				base = "https://"
				g.replace("listen: {", fmt.Sprintf("listen: { tls: { certificates: [{ cert: %q, key: %q }] },", cert, key))
			}
			g.start()
			t.Cleanup(g.kill)
			protocols := new(http.Protocols)
			way.speaks(protocols)
			transport := &http.Transport{Protocols: protocols, DisableCompression: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // the name is not what is tested
			defer transport.CloseIdleConnections()
			client := &http.Client{Timeout: 30 * time.Minute, Transport: transport}
			base += g.address
			if failed := moveAll(client, base, 1<<20); failed != nil { // what a process needs to do it at all
				t.Fatal(failed)
			}
			before, _ := resident(t, g.cmd.Process.Pid)
			began := time.Now()
			for _, err := range moveAll(client, base, n) {
				t.Error(err)
			}
			_, peak := resident(t, g.cmd.Process.Pid)
			t.Logf("4 x %d MiB in %v; resident %d MiB before, at most %d MiB", n>>20, time.Since(began).Round(time.Millisecond), before>>20, peak>>20)
			if peak-before > 32<<20 {
				t.Errorf("memory grew by %d MiB", (peak-before)>>20)
			}
		})
	}
}
