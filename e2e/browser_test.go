package e2e

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// webPages is the document in front of the site: its page, a route for each thing that may be refused, and keyed writes.
const webPages = `upstreams: { up: { targets: [%[1]q] } }
defaults: { auth: none, cors: { origins: ["https://app.example.test:%[2]s"], credentials: true, methods: [GET, POST] } }
routes:
  - { id: sockets, match: { path: /echo }, to: up, websocket: true }
  - { id: leaves, match: { path: /leaves }, to: up, websocket: true }
  - { id: shut, match: { path: /shut/** }, cors: { origins: [https://other.example.test] }, to: up, websocket: true }
  - { id: mine, match: { path: /mine/** }, auth: { issuers: [main] }, to: up, websocket: true }
  - { id: orders, match: { path: /orders, methods: [POST] }, auth: { issuers: [main] }, dedup: { key: required }, to: up }
  - { id: all, match: { path: /** }, body: 4MiB, to: up }
`

// What the steps of e2e/browser/page.js must say.
var webWants = map[string]string{
	"protocol of the page":   "h2",
	"protocol of the script": "h2",
	"image":                  "2 x 1",

	"WebSocket opens":                      "chat permessage-deflate",
	"WebSocket text":                       "grüße, 世界",
	"WebSocket empty":                      "<>",
	"WebSocket 100 KB":                     "102400 the same",
	"WebSocket 100 messages":               "in order",
	"WebSocket after the reload":           "still here",
	"WebSocket closed by the page":         "4001 enough clean",
	"WebSocket closed by the upstream":     "4002 moved clean",
	"WebSocket of a route that takes none": "1006  not clean",
	"WebSocket of another site":            "1006  not clean",
	"WebSocket without a token":            "1006  not clean",

	"EventSource opens":       "1",
	"events one by one":       "e1 event 1, e2 event 2, e3 event 3",
	"event after the reload":  "event 4",
	"EventSource comes again": "after e4",
	"EventSource closes":      "2",

	"reload":                "true",
	"page after the reload": "h2",

	"download piece by piece": "1,2,3",
	"download given up":       "true",
	"upload piece by piece":   "123 EOF",
	"large upload":            "the same",

	"cookie":                        "<>, then <crumb=1>, script sees <>",
	"cookie to another origin":      "<>, then <crumb=1>, left out <>",
	"origin that is not allowed":    "TypeError",
	"refusal from another origin":   `401 urn:oncegate:problem:unauthenticated Bearer realm="oncegate"`,
	"method that is not allowed":    "TypeError",
	"keyed write":                   `201 executed order 1 of {"n":1}`,
	"keyed write again":             `201 replayed order 1 of {"n":1}`,
	"keyed write with another body": "422 null urn:oncegate:problem:key-reused",
}

// A page over HTTP/2 in Chromium: WebSocket, EventSource, streams both ways, cookies, other origins and keyed writes, with a
// reload in the middle that no connection notices.
func TestBrowser(t *testing.T) {
	site := newWebSite()
	up := serve(t, site.ServeHTTP)
	g := prepare(t, "")
	_, port, _ := net.SplitHostPort(g.address)
	g.write(fmt.Sprintf(webPages, up.url, port))
	cert, key := pairFiles(t, nil, filepath.Join(t.TempDir(), "site"), func(c *x509.Certificate) { c.DNSNames = []string{"app.example.test", "api.example.test"} })
	g.replace("listen: {", fmt.Sprintf("listen: { http2: true, tls: { certificates: [{ cert: %q, key: %q }] },", cert, key))
	g.start()
	t.Cleanup(g.kill)
	site.tells(fmt.Sprintf("export const api = 'https://api.example.test:%s', bearer = '%s';", port, g.token()))
	said := browse(t, cert, "https://app.example.test:"+port+"/")

	var report []byte
	for report == nil {
		select {
		case report = <-site.report:
		case done := <-site.reload:
			before := g.metric(reloadsOK)
			g.replace("body: 4MiB", "body: 5MiB")
			g.signal(syscall.SIGHUP)
			g.eventually("a reload", func() bool { return g.metric(reloadsOK) != before })
			close(done)
		case <-time.After(30 * time.Second):
			t.Fatalf("the page reported nothing; browser: %s\ngateway: %s", said, g.log)
		}
	}
	got := map[string]string{}
	if err := json.Unmarshal(report, &got); err != nil {
		t.Fatalf("%v: %s", err, report)
	}
	for name := range got {
		if _, known := webWants[name]; !known {
			t.Errorf("%s: %q, of which nothing is known here", name, got[name])
		}
	}
	for name, want := range webWants {
		if got[name] != want {
			t.Errorf("%s: %q, wanted %q", name, got[name], want)
		}
	}
	for path, want := range map[string]int{"/echo": 1, "/events": 2, "/orders": 1, "/shut/echo": 0, "/mine/echo": 0} {
		if n := site.seen(path); n != want {
			t.Errorf("%s: the upstream saw %d requests, wanted %d", path, n, want)
		}
	}
	g.signal(syscall.SIGTERM)
	if code := g.exit(); code != 0 {
		t.Errorf("stopped under a browser: exit code %d: %s", code, g.log)
	}
	if t.Failed() {
		t.Logf("browser: %s\ngateway: %s", said, g.log)
	}
}

// browse opens a page in a browser of its own until the test ends. It trusts the certificate in the file cert, and every name
// is this machine. What it gives is what the browser says.
func browse(t *testing.T, cert, page string) *lockedBuffer {
	t.Helper()
	text, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	// Without a sandbox it runs as root and in containers too; the page is ours.
	args := []string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-default-browser-check", "--disable-background-networking", "--disable-component-update",
		"--disable-breakpad", "--disable-extensions", "--disable-sync", "--no-proxy-server", "--host-resolver-rules=MAP * 127.0.0.1", "--remote-debugging-port=0", // without it some versions end at once
		"--user-data-dir=" + t.TempDir(), "--ignore-certificate-errors-spki-list=" + pinOf(leaf.RawSubjectPublicKeyInfo)}
	said := &lockedBuffer{}
	cmd := exec.Command(browserPath(t), append(args, page)...)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second // for the last child to let go of the pipe, and so of the folder
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // with all its children
		_ = cmd.Wait()
	})
	return said
}

func browserPath(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("ONCEGATE_BROWSER"), "chromium-headless-shell", "chromium", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no Chromium: scripts/test-deps installs it; ONCEGATE_BROWSER names one elsewhere")
	return ""
}
