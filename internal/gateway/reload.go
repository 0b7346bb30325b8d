package gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/config"
)

// Reloader reads the document again, on demand and when its file changes.
type Reloader struct {
	path    string
	gateway *Gateway
	logger  *slog.Logger

	mu   sync.Mutex
	last error // of the newest attempt; nil when it took effect
	seen fileState
}

// fileState is what tells a changed file from an unchanged one: editors replace it, Kubernetes swaps a link.
type fileState struct {
	info os.FileInfo
	sum  [sha256.Size]byte
}

func (s fileState) sameFile(info os.FileInfo) bool {
	return s.info != nil && info != nil && os.SameFile(s.info, info) && s.info.ModTime().Equal(info.ModTime()) && s.info.Size() == info.Size()
}

// NewReloader watches the file that g was made from.
func NewReloader(path string, g *Gateway, logger *slog.Logger) *Reloader {
	r := &Reloader{path: path, gateway: g, logger: logger}
	r.seen = r.look()
	g.state.Metrics.Reload(true)
	return r
}

// Reload reads, checks, compiles and swaps. Any error keeps the running configuration, raises a metric and stands in Last.
func (r *Reloader) Reload() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = r.look()
	doc, err := config.Load(r.path)
	if err == nil {
		err = r.gateway.Apply(doc)
	}
	r.last = err
	r.gateway.state.Metrics.Reload(err == nil)
	if err != nil {
		r.logger.Error("reload refused, the running configuration stays", "file", r.path, "error", err.Error())
		return err
	}
	r.logger.Info("configuration reloaded", "file", r.path)
	return nil
}

// Last is the error of the newest reload, nil when it took effect.
func (r *Reloader) Last() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// Problems are the mistakes of the newest reload, one by one.
func (r *Reloader) Problems() []config.Located {
	err := r.Last()
	var list *config.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &list):
		return list.Problems
	}
	return []config.Located{{File: r.path, Message: err.Error()}}
}

// Watch reloads when the file's content changes, and for each signal on hup; it returns when ctx ends. It looks twice a
// second: file events are lost on network mounts and on the link swaps of Kubernetes, a look never is.
func (r *Reloader) Watch(ctx context.Context, hup <-chan os.Signal) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			_ = r.Reload() // logged and counted there
		case <-tick.C:
			if r.changed() {
				_ = r.Reload()
			}
		}
	}
}

func (r *Reloader) changed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	info, err := os.Stat(r.path)
	if err != nil || r.seen.sameFile(info) { // a file that is gone for a moment is being replaced
		return false
	}
	now := r.look()
	if now.info == nil {
		return false
	}
	same := now.sum == r.seen.sum
	r.seen = now
	return !same
}

func (r *Reloader) look() fileState {
	info, err := os.Stat(r.path)
	if err != nil {
		return fileState{}
	}
	text, err := os.ReadFile(r.path)
	if err != nil {
		return fileState{}
	}
	return fileState{info, sha256.Sum256(text)}
}
