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
	last error     // of the newest attempt; nil when it took effect
	when time.Time // of the newest attempt
	seen File

	outside *config.Outside // of the newest attempt
	files   map[string]File // those of outside, as they were last looked at
}

// File is what tells a changed file from an unchanged one: editors replace it, Kubernetes swaps a link.
type File struct {
	path string
	info os.FileInfo
	sum  [sha256.Size]byte
	at   time.Time // when it was looked at
}

// sameFile reports that the file can't have changed. A file that was written shortly before the last look may have been
// written again within one tick of the file system's clock: its times tell nothing.
func (s File) sameFile(info os.FileInfo) bool {
	return s.info != nil && os.SameFile(s.info, info) && s.info.ModTime().Equal(info.ModTime()) && s.info.Size() == info.Size() &&
		s.at.Sub(info.ModTime()) > clockTick
}

const (
	lookEvery = 500 * time.Millisecond
	clockTick = 100 * time.Millisecond // generous
	quietFor  = 50 * time.Millisecond  // a file that is being written does not stay as it is for so long
)

// NewReloader watches a file. seen is from before g's document was read from it, so that no change in between is lost.
func NewReloader(seen File, g *Gateway, logger *slog.Logger) *Reloader {
	r := &Reloader{path: seen.path, gateway: g, logger: logger, seen: seen}
	r.follow(g.Snapshot().Document.Outside())
	return r
}

// Reload reads, checks, compiles and swaps. Any error keeps the running configuration, raises a metric and stands in Last.
func (r *Reloader) Reload() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = Look(r.path)
	doc, err := config.LoadAgain(r.path, r.outside)
	var list *config.Error
	if err == nil {
		r.follow(doc.Outside())
		err = r.gateway.Apply(doc)
	} else if errors.As(err, &list) && list.Outside != nil {
		r.follow(list.Outside)
	}
	r.last, r.when = err, time.Now()
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

// When is the time of the newest reload, whether it took effect or not; zero: there was none since the start.
func (r *Reloader) When() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.when
}

// Problems are the mistakes of the newest reload, one by one.
func (r *Reloader) Problems() []config.Located {
	err := r.Last()
	var list *config.Error
	var restart *RestartError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &list):
		return list.Problems
	case errors.As(err, &restart):
		problems := make([]config.Located, len(restart.Keys))
		for i, key := range restart.Keys {
			problems[i] = config.Located{File: r.path, Path: key, Message: "restart the gateway to change it"}
		}
		return problems
	}
	return []config.Located{{File: r.path, Message: err.Error()}}
}

// Watch reloads when the file's content changes, or what it takes from other files and from vaults, and for each signal on
// hup; it returns when ctx ends. It looks twice a second: file events are lost on network mounts and on the link swaps of Kubernetes, a look never is.
func (r *Reloader) Watch(ctx context.Context, hup <-chan os.Signal) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { r.refresh(ctx) })
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			_ = r.Reload() // logged and counted there
		case <-tick.C:
			if r.changed() || r.filesChanged() {
				_ = r.Reload()
			}
		}
	}
}

// changed reports that the file holds something else, and does so no longer than a look ago only: half of a document that
// is being written may be a document, too.
func (r *Reloader) changed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	info, err := os.Stat(r.path)
	if err != nil || r.seen.sameFile(info) { // a file that is gone for a moment is being replaced
		return false
	}
	now := Look(r.path)
	if now.info == nil {
		return false
	}
	if now.sum == r.seen.sum {
		r.seen = now
		return false
	}
	time.Sleep(quietFor)
	return Look(r.path).sum == now.sum // else at the next look
}

// Look remembers a file as it is now.
func Look(path string) File {
	at := time.Now()
	info, err := os.Stat(path)
	if err != nil {
		return File{path: path}
	}
	text, err := config.Read(path)
	if err != nil {
		return File{path: path}
	}
	return File{path, info, sha256.Sum256(text), at}
}
