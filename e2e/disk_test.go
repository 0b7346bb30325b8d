package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestDiskFull runs on a real file system that really fills up: what is in flight is still stored and replayed, new keyed
// writes are refused before anything is sent, and they work again when there is room.
func TestDiskFull(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=256m"); err != nil {
		t.Skipf("a file system of its own can't be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) == "slow" {
			arrived <- struct{}{}
			<-release
		}
		_, _ = io.WriteString(w, "done "+string(body))
	})
	g := prepare(t, fmt.Sprintf(keyed, up.url))
	g.data = filepath.Join(disk, "data")
	g.write(fmt.Sprintf(keyed, up.url))
	g.start()
	t.Cleanup(g.kill)
	bearer := g.token()
	running := make(chan answer, 1)
	go func() {
		a, _ := g.call("POST", "/w", "slow", "Authorization", bearer, "Idempotency-Key", "slow-1")
		running <- a
	}()
	<-arrived

	ballast := filepath.Join(disk, "ballast")
	fill(t, disk, ballast)
	before := up.count.Load()
	a := g.want(503, "store-unavailable", "POST", "/w", "new", "Authorization", bearer, "Idempotency-Key", "new-1")
	if a.header.Get("Retry-After") == "" || a.problem()["executed"] != "no" || up.count.Load() != before {
		t.Errorf("%v %s, %d sent", a.header, a.body, up.count.Load()-before)
	}
	close(release)
	if a := <-running; a.status != 200 || a.header.Get("Idempotency-Status") != "executed" {
		t.Errorf("what was in flight: %d %v %s", a.status, a.header, a.body)
	}
	a = g.want(200, "", "POST", "/w", "slow", "Authorization", bearer, "Idempotency-Key", "slow-1")
	if a.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the replay on a full disk: %v %s", a.header, a.body)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	g.eventually("claims with room again", func() bool {
		a, _ := g.call("POST", "/w", "new", "Authorization", bearer, "Idempotency-Key", "new-1")
		return a.status == 200
	})
}

// fill writes a file until less than 32 MiB are free.
func fill(t *testing.T, disk, file string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	chunk := make([]byte, 1<<20)
	for {
		var s syscall.Statfs_t
		if err := syscall.Statfs(disk, &s); err != nil {
			t.Fatal(err)
		}
		if s.Bavail*uint64(s.Bsize) < 32<<20 {
			return
		}
		if _, err := f.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
}
