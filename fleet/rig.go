package fleet

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// Fleet is a number of gateways, their store and their upstream.
type Fleet struct {
	Gateways []*Gateway
	Store    *Store
	Origin   *Origin
	Document Document

	t    testing.TB
	dir  string
	runs atomic.Int64
}

// ErrRefused: the gateway doesn't take the document.
var ErrRefused = errors.New("the document is refused")

// Open starts n gateways with a document and waits until they are ready; all end with the test.
func Open(t testing.TB, binary string, n int, store *Store, d Document) *Fleet {
	t.Helper()
	f := &Fleet{Store: store, Origin: StartOrigin(t), Document: d, t: t, dir: t.TempDir()}
	for i := range n {
		g, err := f.gateway(binary, i)
		if err != nil {
			t.Fatal(err)
		}
		f.Gateways = append(f.Gateways, g)
	}
	for _, g := range f.Gateways {
		if err := g.Ready(30 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func (f *Fleet) gateway(binary string, i int) (*Gateway, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	admin, err := freeAddress()
	if err != nil {
		return nil, err
	}
	g := &Gateway{Address: address, Admin: admin, binary: binary, log: &tail{}, file: filepath.Join(f.dir, fmt.Sprintf("gateway%d.yaml", i))}
	if err := g.write(f.text(g, f.Document)); err != nil {
		return nil, err
	}
	if out, err := exec.Command(binary, "check", "-config", g.file).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrRefused, out)
	}
	if err := g.Start(); err != nil {
		return nil, err
	}
	f.t.Cleanup(g.Stop)
	return g, nil
}

func (f *Fleet) text(g *Gateway, d Document) string {
	return d.text(g.Address, g.Admin, g.file+".data", f.Store.Redis(), f.Origin.URL)
}

// Load is a load on the whole fleet, with clients that no other load has.
func (f *Fleet) Load(workers int) Load {
	l := Load{Paths: f.Document.Paths(), Workers: workers, Tag: fmt.Sprintf("run%d", f.runs.Add(1))}
	for _, g := range f.Gateways {
		l.Addresses = append(l.Addresses, g.Address)
	}
	return l
}

// Send runs arrivals as a load of its own.
func (f *Fleet) Send(ctx context.Context, arrivals []Arrival) History {
	return f.Load(Connections(len(f.Gateways))).Run(ctx, arrivals)
}

// Connections is how many each gateway gets: few enough for a small machine, more than a loaded fleet keeps busy.
func Connections(gateways int) int { return max(12, 48/gateways) }

// Free is the route without a limit.
func (f *Fleet) Free() int { return len(f.Document.Limits) }

// Reload has every gateway take another document, and waits until it did.
func (f *Fleet) Reload(d Document) {
	f.t.Helper()
	for _, g := range f.Gateways {
		if err := g.write(f.text(g, d)); err != nil {
			f.t.Fatal(err)
		}
		if status, text, err := g.Ask("POST", "/api/v1/reload"); err != nil || status/100 != 2 {
			f.t.Fatalf("reload: %d %s, %v", status, text, err)
		}
	}
	f.Document = d
}

// Stop ends the gateways before the test ends.
func (f *Fleet) Stop() {
	for _, g := range f.Gateways {
		g.Stop()
	}
}
