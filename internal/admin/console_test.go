package admin

import (
	"context"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// consoleRoutes hold HTML wherever the document lets names be free.
const consoleRoutes = inMemory + `rate_limits: { "<i>slow</i>": { rate: 2/1m, burst: 5 }, daily: { quota: 100/d }, seats: { in_flight: 3 } }
upstreams: { "up<script>": { targets: [@UP@], breaker: {} }, calm: { targets: ["http://127.0.0.1:1"], breaker: {} } }
defaults: { auth: { issuers: [main] } }
routes:
  - { id: "<script>alert(1)</script>", match: { path: /w/**, methods: [POST], headers: { X-Kind: "<b>&\"'" } }, rate_limits: ["<i>slow</i>"], dedup: { key: required }, to: "up<script>" }
  - { id: plain, match: { path: /p }, auth: none, to: calm }
`

// socket serves the rig's port on loopback, and asks it as a browser or a script does: what the app's own test mode does not go
// through, the server does.
func (r *rig) socket() (ask func(method, path string, fields ...string) adminReply) {
	r.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(ln) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r.t.Cleanup(func() {
		if err := r.server.Shutdown(context.Background()); err != nil {
			r.t.Error(err)
		}
		if err := <-served; err != nil {
			r.t.Error(err)
		}
	})
	return func(method, path string, fields ...string) adminReply {
		r.t.Helper()
		q, err := http.NewRequest(method, "http://"+ln.Addr().String()+path, nil)
		if err != nil {
			r.t.Fatal(err)
		}
		for i := 0; i < len(fields); i += 2 {
			if q.Header.Set(fields[i], fields[i+1]); fields[i] == "Host" {
				q.Host = fields[i+1]
			}
		}
		got, err := client.Do(q)
		if err != nil {
			r.t.Fatal(err)
		}
		defer got.Body.Close()
		text, err := io.ReadAll(got.Body)
		if err != nil {
			r.t.Fatal(err)
		}
		return adminReply{got, string(text)}
	}
}

func basic(credentials string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))
}

// guarded wants what every answer of the page has, refusals included.
func (a adminReply) guarded(t *testing.T, status int) {
	t.Helper()
	h := a.Header
	if a.StatusCode != status || h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" ||
		!strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'; style-src 'sha256-") || strings.Contains(h.Get("Content-Security-Policy"), "unsafe") {
		t.Errorf("%s %s: %d, wanted %d: %v %s", a.Request.Method, a.Request.URL.Path, a.StatusCode, status, h, a.body)
	}
}

func TestConsoleShowsTheGateway(t *testing.T) {
	r := newRig(t, consoleRoutes)
	ask := r.socket()
	token := []string{"Authorization", "Bearer " + adminToken}
	page := ask("GET", "/console", token...)
	page.guarded(t, 200)
	if page.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Error(page.Header)
	}
	for _, part := range []string{"<h1>Oncegate v9.8.7</h1>", "no reload so far", "http://127.0.0.1:1", "closed", "0 of 0 calls failed", "in flight", "healthy", "methods: [POST], path: /w/**", "headers: { X-Kind: &lt;b&gt;&amp;&#34;&#39; }", "auth <code>none</code>", "key: required", "2/m, burst 5", "100/d", "3 at once",
		"<td>&lt;script&gt;alert(1)&lt;/script&gt;</td>", "<td>up&lt;script&gt;", "&lt;i&gt;slow&lt;/i&gt;"} {
		if !strings.Contains(page.body, part) {
			t.Errorf("%q is not in the page", part)
		}
	}
	for _, part := range []string{"<script", "<i>", "<b>", adminToken, "0123456789-0123456789", "javascript:", " src=", " href=", "@import", "url("} {
		if strings.Contains(page.body, part) {
			t.Errorf("%q is in the page", part)
		}
	}
	style := page.body[strings.Index(page.body, "<style>")+len("<style>") : strings.Index(page.body, "</style>")]
	if csp := page.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "'sha256-"+hashOf(style)+"'") || !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("the browser would not take the style: %s", csp)
	}
	ask("GET", "/console/", token...).guarded(t, 200)
	if head := ask("HEAD", "/console", token...); head.body != "" {
		t.Error(head.body)
	} else {
		head.guarded(t, 200)
	}
	if got := ask("POST", "/console", token...); got.StatusCode != 405 {
		t.Errorf("POST: %d", got.StatusCode)
	}
	if got := ask("GET", "/console/more", token...); got.StatusCode != 404 {
		t.Errorf("/console/more: %d", got.StatusCode)
	}
}

// What a reload did, and what runs otherwise than the document says, stands there, too.
func TestConsoleShowsReloadsAndChanges(t *testing.T) {
	r := newRig(t, consoleRoutes)
	r.asks(422, nil, "POST", "/api/v1/reload", "") // the rig's document is no file
	r.asks(200, nil, "POST", "/api/v1/upstreams/calm/breaker", `{"state":"open"}`)
	ask := r.socket()
	page := ask("GET", "/console", "Authorization", "Bearer "+adminToken)
	for _, part := range []string{"was refused", "nowhere.yaml", "<code>upstreams.calm.breaker</code>", `<span class="bad">open</span> by order`} {
		if !strings.Contains(page.body, part) {
			t.Errorf("%q is not in %s", part, page.body)
		}
	}
}

func TestConsoleWantsTheToken(t *testing.T) {
	r := newRig(t, consoleRoutes)
	ask := r.socket()
	for _, path := range []string{"/console", "/console/"} {
		for _, good := range []string{"Bearer " + adminToken, basic("admin:" + adminToken), basic(":" + adminToken), "basic" + strings.TrimPrefix(basic("x:"+adminToken), "Basic")} {
			ask("GET", path, "Authorization", good).guarded(t, 200)
		}
		for _, bad := range []string{"", "Bearer", "Bearer x", basic(adminToken), basic(adminToken + ":"), basic("admin:" + adminToken + "x"), basic("a:b:" + adminToken), basic("admin:"),
			"Basic " + adminToken, "Bearer " + strings.TrimPrefix(basic("admin:"+adminToken), "Basic "), "Basic ?:" + adminToken} {
			got := ask("GET", path, "Authorization", bad)
			got.guarded(t, 401)
			if all := got.Header.Values("WWW-Authenticate"); len(all) != 2 || all[0] != `Bearer realm="oncegate-admin"` || all[1] != `Basic realm="oncegate-admin", charset="UTF-8"` {
				t.Errorf("%q: %q", bad, all)
			}
			if strings.Contains(got.body, "Upstreams") {
				t.Errorf("%q is shown the page", bad)
			}
		}
		for _, foreign := range [][]string{{"Host", "evil.test"}, {"Origin", "https://evil.test"}, {"Origin", "null"}} {
			ask("GET", path, append(foreign, "Authorization", basic("admin:"+adminToken))...).guarded(t, 403)
		}
	}
	got := ask("GET", "/api/v1/routes", "Authorization", basic("admin:"+adminToken)) // a browser would send it for a foreign page, too
	if all := got.Header.Values("WWW-Authenticate"); got.StatusCode != 401 || len(all) != 1 || all[0] != `Bearer realm="oncegate-admin"` {
		t.Errorf("the API takes a password: %d %q", got.StatusCode, all)
	}
}

// Without a token in the document the page is open, as the API is: the address is loopback then.
func TestConsoleWithoutToken(t *testing.T) {
	r := newRig(t, consoleRoutes)
	doc := *r.gateway.Snapshot().Document
	doc.Admin.Token = ""
	if err := r.gateway.Apply(&doc); err != nil {
		t.Fatal(err)
	}
	ask := r.socket()
	ask("GET", "/console").guarded(t, 200)
	ask("GET", "/console", "Host", "evil.test").guarded(t, 403)
}
