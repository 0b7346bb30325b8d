package e2e

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestDemoTour runs every line that make demo prints.
func TestDemoTour(t *testing.T) {
	for _, port := range []string{"8080", "9901", "9001", "9002", "9003"} {
		ln, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil && os.Getenv("CI") == "true" {
			t.Fatal(err)
		} else if err != nil {
			t.Skipf("port %s of the demo is taken here", port)
		}
		ln.Close()
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("curl is not installed: scripts/test-deps installs it")
	}
	c := exec.Command(binary, "demo", "-try", "-config", repo(t, "gateway.yaml"))
	c.Dir = t.TempDir()
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var want []string
	var got []string
	for _, part := range strings.Split(string(out), "\n$ ")[1:] {
		title, result, _ := strings.Cut(part, "\n")
		if status, isTitle := strings.CutPrefix(title, "# "); isTitle {
			want = append(want, status[:3])
			continue
		}
		got = append(got, strings.TrimPrefix(result, "HTTP/1.1 ")[:3])
	}
	if strings.Join(want, " ") != strings.Join(got, " ") || len(want) != 10 {
		t.Fatalf("wanted %v, got %v: %s", want, got, out)
	}
	for _, word := range []string{"Idempotent-Replayed: true", "Retry-After: ", `RateLimit: "per-client";r=`, `"id":"orders-1"`, "upstream-open", `"user":"acme"`} {
		if !strings.Contains(string(out), word) {
			t.Errorf("no %s in the tour", word)
		}
	}
	if strings.Contains(string(out), "orders-2") {
		t.Error("the retry executed twice")
	}
}
