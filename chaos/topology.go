package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Topology is a kind of fleet with its store.
type Topology struct {
	Name     string
	Gateways int
	Shared   bool // one store for all gateways
	Replicas bool // the store has some
	Open     func(t testing.TB) (Store, error)
}

// Store is what gateways keep their records in, as the harness handles it. The embedded one is a folder of each gateway.
type Store interface {
	// State is the document's state, as flow YAML, of a gateway whose folder is dir.
	State(dir string) string
	// Faults are what a nemesis may do to it, by name.
	Faults() map[string]Disturb
	// Heal undoes what is left of faults.
	Heal()
}

// Disturb does one bounded harm and returns when it is over, or when stop is closed. Harm that may lose what was acknowledged
// reports the loss.
type Disturb func(h *History, stop <-chan struct{}) error

// embeddedStore is the default store.
type embeddedStore struct{}

// State implements Store.
func (embeddedStore) State(dir string) string {
	return fmt.Sprintf("{ store: embedded, path: %q }", filepath.Join(dir, "data"))
}

// Faults implements Store: it has none but the gateway's own end.
func (embeddedStore) Faults() map[string]Disturb { return nil }

// Heal implements Store.
func (embeddedStore) Heal() {}

// Embedded are gateways with a folder each.
func Embedded(gateways int) Topology {
	return Topology{Name: "embedded", Gateways: gateways, Open: func(testing.TB) (Store, error) { return embeddedStore{}, nil }}
}

const document = `version: 1
listen: { address: %q, drain: { notice: 10ms, timeout: 5s } }
admin: { address: %q }
state: %s
issuers: { main: { issuer: %q, audiences: [api], secret: %q, algorithms: [HS256] } }
upstreams: { ledger: { targets: [%q] } }
defaults: { auth: { issuers: [main] }, timeout: %s }
routes:
  - { id: w, match: { path: /w }, dedup: { key: required, scope: w, max_answer: %dB, keep: { answer: 1h, key: 2h } }, to: ledger }
%s`

// Routes beside /w.
const (
	RouteBrief = "brief" // keys are soon over: nobody asks again
	RouteDedup = "again" // the upstream honours the key
	RouteAsked = "asked" // unknown outcomes are asked about
)

var moreRoutes = map[string]string{
	RouteBrief: "  - { id: brief, match: { path: /brief }, dedup: { key: required, scope: brief, keep: { answer: 1s, key: 8s } }, to: ledger }\n",
	RouteDedup: "  - { id: again, match: { path: /again }, dedup: { key: required, scope: again, upstream_dedup: true, keep: { answer: 1h, key: 2h } }, to: ledger }\n",
	RouteAsked: "  - { id: asked, match: { path: /asked }, dedup: { key: required, scope: asked, status_check: { url: \"%s/executions/{key}\", executed: [200], not_executed: [404], settle: 3s }, keep: { answer: 1h, key: 2h } }, to: ledger }\n",
}

// ErrNotSupported: the gateway does not know something of the cell's document.
var ErrNotSupported = errors.New("the document is refused")

// Fleet is a number of gateways, their store and their upstream.
type Fleet struct {
	Dir      string
	Gateways []*Gateway
	Store    Store
	Upstream *Upstream
	Ledger   string // its file
}

// StartFleet starts everything. arms are the failpoints of the first gateway's starts.
func StartFleet(t testing.TB, dir, binary string, top Topology, route string, h *History, arms []string) (*Fleet, error) {
	f := &Fleet{Dir: dir, Ledger: filepath.Join(dir, "ledger.jsonl")}
	var err error
	if f.Upstream, err = StartLedger(f.Ledger); err != nil {
		return nil, err
	}
	if f.Store, err = top.Open(t); err != nil {
		return f, err
	}
	for i := range top.Gateways {
		g, err := f.gateway(i, binary, route, h, arms)
		if err != nil {
			return f, err
		}
		f.Gateways = append(f.Gateways, g)
		arms = nil
	}
	return f, nil
}

func (f *Fleet) gateway(i int, binary, route string, h *History, arms []string) (*Gateway, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	admin, err := freeAddress()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(f.Dir, fmt.Sprintf("g%d", i))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	more := moreRoutes[route]
	if route == RouteAsked {
		more = fmt.Sprintf(more, f.Upstream.URL)
	}
	text := fmt.Sprintf(document, address, admin, f.Store.State(dir), issuerURL, tokenSecret, f.Upstream.URL, RouteTimeout, MaxAnswer, more)
	file := filepath.Join(dir, "gateway.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	if out, err := exec.Command(binary, "check", "-config", file).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrNotSupported, out)
	}
	return StartGateway(binary, file, address, admin, fmt.Sprintf("g%d", i), h, arms)
}

// Heal undoes every fault and waits until all gateways are ready.
func (f *Fleet) Heal(limit time.Duration) error {
	f.Store.Heal()
	for _, g := range f.Gateways {
		g.Disarm()
	}
	for _, g := range f.Gateways {
		if err := g.Ready(limit); err != nil {
			return err
		}
	}
	return nil
}

// Addresses are where clients send to.
func (f *Fleet) Addresses() (all []string) {
	for _, g := range f.Gateways {
		all = append(all, g.Address)
	}
	return all
}

// Down ends everything but the store.
func (f *Fleet) Down() {
	for _, g := range f.Gateways {
		g.Down()
	}
	if f.Upstream != nil {
		_ = f.Upstream.Close()
	}
}
