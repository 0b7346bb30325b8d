package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const staying = `upstreams: { up: { targets: [%q] } }
routes:
  - { id: stays, match: { path: /stays }, auth: none, to: up }
`

const passing = "  - { id: passes, match: { path: /passes }, auth: none, to: up }\n"

// reloaded does something and waits until a reload has ended, for better or worse.
func (g *gateway) reloaded(do func()) (ok bool) {
	g.t.Helper()
	good, bad := g.metric(reloadsOK), g.metric(reloadsFailed)
	do()
	g.eventually("a reload", func() bool { ok = g.metric(reloadsOK) != good; return ok || g.metric(reloadsFailed) != bad })
	return ok
}

func (g *gateway) hup() { g.signal(syscall.SIGHUP) }

// errors gives GET config/errors.
func (g *gateway) errors() (list []map[string]any) {
	g.t.Helper()
	status, text := g.get(g.admin, "/api/v1/config/errors")
	if err := json.Unmarshal([]byte(text), &list); err != nil || status != 200 {
		g.t.Fatalf("%d %s: %v", status, text, err)
	}
	return list
}

func TestRoutesComeAndGoUnderLoad(t *testing.T) {
	up := serve(t, ok)
	body := fmt.Sprintf(staying, up.url)
	g := begin(t, body)
	stop := g.steady("GET", "/stays")
	for range 5 {
		if !g.reloaded(func() { g.write(body + passing); g.hup() }) {
			t.Fatalf("refused: %v", g.errors())
		}
		g.want(200, "", "GET", "/passes", "")
		if !g.reloaded(func() { g.write(body); g.hup() }) {
			t.Fatalf("refused: %v", g.errors())
		}
		g.want(404, "not-found", "GET", "/passes", "")
	}
	if failures, sent := stop(); len(failures) > 0 || sent < 50 {
		t.Errorf("%d of %d failed: %v", len(failures), sent, failures)
	}
}

// A request that runs ends on the configuration that it began with, even when its route and its upstream have gone.
func TestRunningRequestsOutliveTheirRoute(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	slow := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		fmt.Fprint(w, "late")
	})
	body := fmt.Sprintf(staying, serve(t, ok).url)
	g := begin(t, strings.Replace(body, "upstreams: {", fmt.Sprintf("upstreams: { slow: { targets: [%q] },", slow.url), 1)+"  - { id: slow, match: { path: /slow }, auth: none, to: slow }\n")
	done := make(chan answer, 1)
	go func() {
		a, _ := g.call("GET", "/slow", "")
		done <- a
	}()
	<-arrived
	if !g.reloaded(func() { g.write(body); g.hup() }) {
		t.Fatalf("refused: %v", g.errors())
	}
	g.want(404, "not-found", "GET", "/slow", "")
	close(release)
	if a := <-done; a.status != 200 || a.body != "late" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// The file's change alone reloads, however the file is changed.
func TestEveryWayOfChangingTheFile(t *testing.T) {
	body := fmt.Sprintf(staying, serve(t, ok).url)
	text := func(g *gateway, body string) []byte {
		return []byte(fmt.Sprintf(head, g.address, g.admin, g.data) + body)
	}
	put := func(t *testing.T, path string, text []byte) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	seen := func(g *gateway) {
		g.t.Helper()
		g.eventually("the new route", func() bool { a, _ := g.call("GET", "/passes", ""); return a.status == 200 })
	}
	t.Run("rename", func(t *testing.T) {
		t.Parallel()
		g := begin(t, body)
		g.write(body + passing)
		seen(g)
	})
	t.Run("in place", func(t *testing.T) {
		t.Parallel()
		g := begin(t, body)
		put(t, g.file, text(g, body+passing))
		seen(g)
	})
	t.Run("in place, slowly", func(t *testing.T) {
		t.Parallel()
		g := begin(t, body)
		whole := text(g, body+passing)
		f, err := os.OpenFile(g.file, os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for at := 0; at < len(whole); at += 20 { // over more than one look
			if _, err := f.Write(whole[at:min(at+20, len(whole))]); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Millisecond) // the pace of the writer
		}
		seen(g)
		g.want(200, "", "GET", "/stays", "")
	})
	t.Run("same size", func(t *testing.T) {
		t.Parallel()
		g := begin(t, body+strings.Replace(passing, "path: /passes", "path: /passed", 1))
		put(t, g.file, text(g, body+passing))
		seen(g)
	})
	t.Run("symlink swap", func(t *testing.T) {
		t.Parallel()
		g := prepare(t, body)
		dir := filepath.Dir(g.file)
		link := func(target, name string) {
			t.Helper()
			if err := os.Symlink(target, filepath.Join(dir, "tmp")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(dir, "tmp"), filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		for name, content := range map[string]string{"v1": body, "v2": body + passing} { // as Kubernetes mounts a config map
			if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, name, "gateway.yaml"), text(g, content))
		}
		link("v1", "..data")
		link("..data/gateway.yaml", "gateway.yaml")
		g.start()
		t.Cleanup(g.kill)
		link("v2", "..data")
		seen(g)
	})
	t.Run("gone for a while", func(t *testing.T) {
		t.Parallel()
		g := begin(t, body)
		if err := os.Remove(g.file); err != nil {
			t.Fatal(err)
		}
		if g.reloaded(g.hup) {
			t.Error("a reload without a file succeeds")
		}
		g.want(200, "", "GET", "/stays", "")
		g.write(body + passing)
		seen(g)
		g.eventually("the metric", func() bool { return g.metric(lastReload) == "1" })
	})
}

// A change that is only written, not meant, reloads nothing; a SIGHUP always does.
func TestTouchingReloadsNothing(t *testing.T) {
	body := fmt.Sprintf(staying, serve(t, ok).url)
	g := begin(t, body)
	g.write(body)
	if !g.reloaded(g.hup) || g.metric(reloadsOK) != "1" {
		t.Errorf("%s reloads", g.metric(reloadsOK))
	}
}

func TestStormOfSignals(t *testing.T) {
	body := fmt.Sprintf(staying, serve(t, ok).url)
	g := begin(t, body)
	var stop atomic.Bool
	stormed := make(chan struct{})
	go func() {
		defer close(stormed)
		for !stop.Load() {
			_ = g.cmd.Process.Signal(syscall.SIGHUP)
			time.Sleep(time.Millisecond) // the pace of the storm
		}
	}()
	load := g.steady("GET", "/stays")
	g.write(body + passing)
	g.eventually("the new route", func() bool { a, _ := g.call("GET", "/passes", ""); return a.status == 200 })
	stop.Store(true)
	<-stormed
	if failures, sent := load(); len(failures) > 0 {
		t.Errorf("%d of %d failed: %v", len(failures), sent, failures)
	}
	g.signal(syscall.SIGTERM)
	if code := g.exit(); code != 0 {
		t.Errorf("exit %d", code)
	}
}

// What is bound to the process is refused by name; everything stays as it was.
func TestChangesThatNeedARestart(t *testing.T) {
	body := fmt.Sprintf(staying, serve(t, ok).url)
	g := begin(t, body)
	old, err := os.ReadFile(g.file)
	if err != nil {
		t.Fatal(err)
	}
	for key, change := range map[string][2]string{
		"listen.address": {g.address, "127.0.0.1:1"}, "admin.address": {g.admin, "127.0.0.1:2"}, "state.store": {"store: embedded", "store: memory"}, "state.path": {g.data, g.data + "2"},
		"state.redis.prefix": {"state: {", "state: { redis: { prefix: other },"},
	} {
		text := strings.Replace(string(old), change[0], change[1], 1) + passing
		if g.reloaded(func() {
			if err := os.WriteFile(g.file, []byte(text), 0o600); err != nil {
				t.Error(err)
			}
			g.hup()
		}) {
			t.Errorf("%s: the reload succeeds", key)
		}
		list := g.errors()
		if len(list) != 1 || list[0]["path"] != key || !strings.Contains(fmt.Sprint(list[0]["message"]), "restart") || list[0]["file"] != g.file {
			t.Errorf("%s: %v", key, list)
		}
		g.want(404, "not-found", "GET", "/passes", "")
	}
	if !strings.Contains(g.log.String(), "restart the gateway to change state.store") {
		t.Error("the log does not name the key")
	}
}

// These keys of listen and admin are read when they are needed.
func TestChangesThatNeedNone(t *testing.T) {
	body := fmt.Sprintf(staying, serve(t, ok).url)
	g := begin(t, body)
	change := func(old, next string) {
		t.Helper()
		if !g.reloaded(func() { g.replace(old, next); g.hup() }) {
			t.Fatalf("%s: %v", next, g.errors())
		}
	}
	g.want(200, "", "POST", "/stays", "123456")
	change("listen: {", "listen: { limits: { body: 5B },")
	g.want(413, "too-large", "POST", "/stays", "123456")
	g.want(200, "", "POST", "/stays", "12345")
	change("admin: {", "admin: { token: first-admin-token-0123456789,")
	if got := adminCall(t, g, "GET", "/api/v1/routes", "Authorization", "Bearer first-admin-token-0123456789"); got != 200 {
		t.Errorf("the new token: %d", got)
	}
	if got := adminCall(t, g, "GET", "/api/v1/routes", "", ""); got != 401 {
		t.Errorf("none: %d", got)
	}
	change("first-admin", "second-admin")
	if got := adminCall(t, g, "GET", "/api/v1/routes", "Authorization", "Bearer first-admin-token-0123456789"); got != 401 {
		t.Errorf("the old token: %d", got)
	}
	change("notice: 10ms", "notice: 1ms")
	change("timeout: 5s }", "timeout: 300ms }")
	g.signal(syscall.SIGTERM)
	if code := g.exit(); code != 0 {
		t.Errorf("exit %d", code)
	}
}
