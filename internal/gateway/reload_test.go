package gateway

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/observe"
)

const base = `version: 1
listen: { address: "127.0.0.1:8080", limits: { headers: 50 }, trusted_proxies: [10.0.0.0/8] }
state: { store: memory }
upstreams: { up: { targets: ["http://127.0.0.1:1"] } }
routes: [ { id: a, match: { path: /a }, auth: none, to: up } ]
`

func parse(t *testing.T, text string) *config.Document {
	t.Helper()
	result, err := config.Parse("test", []byte(text), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	return result.Document
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func newReloader(t *testing.T) (*Reloader, *Gateway) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	writeFile(t, path, base)
	metrics := observe.NewMetrics(observe.BuildInfo{})
	logger := slog.New(slog.DiscardHandler)
	g, err := New(parse(t, base), NewState(metrics, observe.New(metrics, nil, logger), logger))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	return NewReloader(Look(path), g, logger), g
}

func TestChangesOfTheFileAreSeen(t *testing.T) {
	r, _ := newReloader(t)
	if r.changed() {
		t.Error("changed without a change")
	}
	writeFile(t, r.path, base)
	if r.changed() {
		t.Error("the same text is no change")
	}
	for _, text := range []string{base + "#", base + "!"} { // the same size, within one tick of the clock
		writeFile(t, r.path, text)
		if !r.changed() || r.seen.sum == Look(r.path).sum {
			t.Error("a change is not seen")
		}
		r.seen = Look(r.path)
	}
	if err := os.Remove(r.path); err != nil {
		t.Fatal(err)
	}
	if r.changed() {
		t.Error("a file that is gone for a moment is no change")
	}
	writeFile(t, r.path, base)
	if !r.changed() {
		t.Error("it is back, with another text")
	}
}

// What changed between the reading of the first document and the first look is not lost.
func TestChangeBeforeTheWatchBegins(t *testing.T) {
	r, g := newReloader(t)
	writeFile(t, r.path, base+"# changed\n")
	if late := NewReloader(r.seen, g, r.logger); !late.changed() {
		t.Error("lost")
	}
}

func TestFileThatIsBeingWritten(t *testing.T) {
	r, _ := newReloader(t)
	writeFile(t, r.path, base+"#")
	for try := 0; ; try++ {
		taken, pause := whileWritten(r)
		if !taken {
			break
		}
		if pause < quietFor || try == 20 { // else a busy machine let the file rest for so long
			t.Fatalf("a file is taken while it is written, with pauses of at most %v", pause)
		}
	}
	if !r.changed() {
		t.Error("the change is forgotten")
	}
}

// whileWritten looks for a change while the file is written all the time, and tells the longest pause between two writes.
func whileWritten(r *Reloader) (taken bool, pause time.Duration) {
	stop, stopped, begun := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n, last := 0, time.Now(); ; n++ {
			_ = os.WriteFile(r.path, append([]byte(base), make([]byte, n+1)...), 0o600)
			now := time.Now()
			if pause, last = max(pause, now.Sub(last)), now; n == 0 {
				close(begun)
			}
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	<-begun
	taken = r.changed()
	close(stop)
	<-stopped
	return taken, pause
}
