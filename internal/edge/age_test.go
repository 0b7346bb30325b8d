package edge_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// Jitter spreads ends over a fifth of the age, and no age means no end.
func TestRetires(t *testing.T) {
	from := time.Unix(1000, 0)
	low, high := time.Hour, time.Duration(0)
	for range 2000 {
		d := edge.Retires(from, 10*time.Minute).Sub(from)
		low, high = min(low, d), max(high, d)
	}
	if low < 9*time.Minute || low > 555*time.Second || high > 11*time.Minute || high < 645*time.Second {
		t.Errorf("from %v to %v", low, high)
	}
	never := edge.Retires(from, 0)
	if !never.IsZero() || edge.Retired(never, from.Add(time.Hour)) {
		t.Error("a connection without an age retires")
	}
	if at := from.Add(time.Minute); edge.Retired(at, at.Add(-1)) || !edge.Retired(at, at) {
		t.Error("retired too early or too late")
	}
}

// aged is a port whose connections are to live for age; /wait answers when release is closed.
func aged(t *testing.T, age time.Duration) (p *twinPort, began, release chan struct{}) {
	cfg := twinConfig()
	cfg.Limits.ConnectionAge = units.Duration(age)
	cfg.Limits.Body = 1 << 20
	began, release = make(chan struct{}, 1), make(chan struct{})
	return openTwins(t, cfg, pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error {
		if string(x.Request.Path()) == "/wait" {
			began <- struct{}{}
			<-release
		}
		text := []byte("none")
		if body := x.Request.Body(); body != nil {
			var err error
			if text, err = io.ReadAll(body); err != nil {
				return err
			}
		}
		x.Response.SetBody(text)
		return nil
	})), began, release
}

// dialled counts the connections of a client.
func (p *twinPort) client(t *testing.T, http2 bool) (c *http.Client, dialled *atomic.Int64) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetUnencryptedHTTP2(http2)
	dialled = new(atomic.Int64)
	tr := &http.Transport{Protocols: protocols, MaxIdleConnsPerHost: 10, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		dialled.Add(1)
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}, dialled
}

func (p *twinPort) post(c *http.Client, path, body string) (*http.Response, error) {
	got, err := c.Post("http://"+p.port.Addr().String()+path, "text/plain", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err == nil && (got.StatusCode != 200 || string(text) != body) {
		err = fmt.Errorf("%d %q", got.StatusCode, text)
	}
	return got, err
}

// A young connection is kept; the first answer past its age is its last, and a stream that runs beside it ends in peace.
func TestConnectionAge(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("http2=%v", http2), func(t *testing.T) {
			t.Parallel()
			const age = 500 * time.Millisecond
			p, began, release := aged(t, age)
			c, dialled := p.client(t, http2)
			start := time.Now()
			if got, err := p.post(c, "/", "a"); err != nil || got.Close {
				t.Fatalf("%v, close %v", err, got)
			}
			running := make(chan error, 1)
			if http2 {
				go func() { _, err := p.post(c, "/wait", "b"); running <- err }()
				<-began
			}
			if _, err := p.post(c, "/", "a"); err != nil || dialled.Load() != 1 && time.Since(start) < age*9/10 {
				t.Fatalf("%v, %d connections before the age", err, dialled.Load())
			}
			time.Sleep(time.Until(start.Add(age * 12 / 10)))
			before := dialled.Load()
			if got, err := p.post(c, "/", "a"); err != nil || !http2 && !got.Close {
				t.Fatalf("past the age: %v, close %v", err, got)
			}
			for by := time.Now().Add(5 * time.Second); dialled.Load() == before; { // GOAWAY follows the answer
				if _, err := p.post(c, "/", "a"); err != nil || time.Now().After(by) {
					t.Fatalf("no new connection: %v", err)
				}
			}
			close(release)
			if http2 {
				if err := <-running; err != nil {
					t.Errorf("a running request: %v", err)
				}
			}
		})
	}
}

// Under load no client sees an error while connections come and go.
func TestConnectionAgeUnderLoad(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		p, _, _ := aged(t, 20*time.Millisecond)
		c, dialled := p.client(t, http2)
		var group sync.WaitGroup
		errs := make(chan error, 8)
		for range 8 {
			group.Go(func() {
				for i := 0; i < 150 || dialled.Load() < 20 && i < 20000; i++ {
					if _, err := p.post(c, "/", strings.Repeat("b", 1+i%3000)); err != nil {
						errs <- fmt.Errorf("request %d: %w", i, err)
						return
					}
				}
			})
		}
		group.Wait()
		close(errs)
		for err := range errs {
			t.Errorf("http2=%v: %v", http2, err)
		}
		if n := dialled.Load(); n < 20 {
			t.Errorf("http2=%v: %d connections only", http2, n)
		}
	}
}
