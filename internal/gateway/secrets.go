package gateway

import (
	"context"
	"math/rand/v2"
	"os"
	"time"

	"github.com/oncegate/oncegate/internal/config"
)

// retryVault bounds how long a vault that failed is left alone.
const retryVault = 30 * time.Second

// follow watches what a document was made of. r.mu is held, or nobody else knows r yet.
func (r *Reloader) follow(outside *config.Outside) {
	r.outside, r.files = outside, map[string]File{}
}

// filesChanged reports that a file of ${file:...} holds something else than the newest attempt read there. A file that is
// gone is no change: it is being replaced, or the next reload will say so.
func (r *Reloader) filesChanged() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for path, sum := range r.outside.Files() {
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() || r.files[path].sameFile(info) {
			continue
		}
		now := Look(path)
		if now.info == nil {
			continue
		}
		if told := r.files[path]; now.sum == sum || told.info != nil && now.sum == told.sum {
			r.files[path] = now
			continue
		}
		time.Sleep(quietFor)
		if Look(path).sum == now.sum { // else it is being written: at the next look
			r.files[path] = now // told once, also when the reload comes to nothing
			r.gateway.state.Metrics.SecretsChecked("file", "changed")
			return true
		}
	}
	return false
}

// refresh reads the secrets of vaults again, each vault as often as its refresh says, and reloads when one has changed. A
// vault that fails changes nothing: what it said last stays in force.
func (r *Reloader) refresh(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	due, failing := map[string]time.Time{}, map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		outside := r.made()
		vaults := outside.Vaults()
		for name := range due {
			if _, used := vaults[name]; !used {
				delete(due, name)
			}
		}
		for name, every := range vaults {
			at, known := due[name]
			if known && time.Now().Before(at) {
				continue
			}
			due[name] = time.Now().Add(apart(every))
			if known && !r.look(ctx, outside, name, failing) {
				due[name] = time.Now().Add(apart(min(every, retryVault)))
			}
		}
	}
}

// look asks one vault; false: it failed.
func (r *Reloader) look(ctx context.Context, outside *config.Outside, name string, failing map[string]bool) bool {
	changed, err := outside.Changed(ctx, name)
	result := "unchanged"
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		result = "failure"
		if !failing[name] {
			r.logger.Warn("a vault's secrets could not be read again; the last good ones stay in use", "vault", name, "error", err.Error())
		}
	case changed:
		result = "changed"
	case failing[name]:
		r.logger.Info("the vault answers again", "vault", name)
	}
	failing[name] = err != nil
	r.gateway.state.Metrics.SecretsChecked("vault:"+name, result)
	if changed {
		r.logger.Info("a secret has changed", "vault", name)
		_ = r.Reload() // logged and counted there
	}
	return err == nil
}

func (r *Reloader) made() *config.Outside {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.outside
}

// apart is up to a tenth less than every, so that a fleet does not ask in step.
func apart(every time.Duration) time.Duration {
	return every - time.Duration(rand.Float64()*0.1*float64(every))
}
