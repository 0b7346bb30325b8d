package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// introspector is an authorization server's endpoint whose answers can be changed.
type introspector struct {
	*keyServer
	mu     sync.Mutex
	tokens map[string]any
}

func newIntrospector(t *testing.T) *introspector {
	t.Helper()
	s := &introspector{keyServer: newKeyServer(t, ""), tokens: map[string]any{}}
	s.does(s.answers)
	return s
}

func (s *introspector) answers(w http.ResponseWriter, r *http.Request) {
	id, password, _ := r.BasicAuth()
	if r.Method != "POST" || id != "gateway" || password != "e2e-p%2Bss" || r.ParseForm() != nil {
		w.WriteHeader(401)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	said := s.tokens[r.PostForm.Get("token")]
	if said == nil {
		said = object{"active": false}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(said)
}

func (s *introspector) knows(token string, claims any) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[token] = claims
	return token
}

// live are the claims of a good opaque token.
func live(pairs ...any) object { return with(sound("active", true, "iss", omit), pairs...) }

// introspecting has a route /asked for opaque tokens alone, and /both for them and the signed ones of main.
func introspecting(t *testing.T, s *introspector, extra string) (*gateway, *mirror) {
	t.Helper()
	up := newMirror(t)
	g := prepare(t, fmt.Sprintf(`upstreams: { up: { targets: [%q] } }
routes:
  - { id: asked, match: { path: /asked }, auth: { issuers: [asked] }, forward: { claims: { X-User: username } }, to: up }
  - { id: scoped, match: { path: /scoped }, auth: { issuers: [asked], require: { scopes: [read] } }, to: up }
  - { id: both, match: { path: /both }, auth: { issuers: [main, asked] }, to: up }
  - { id: main, match: { path: /main }, auth: { issuers: [main] }, to: up }
`, up.url))
	g.replace("issuers: {", fmt.Sprintf(`issuers: { asked: { issuer: "https://asked.test/", audiences: [api], introspection: { url: "%s/introspect", client_id: gateway, client_secret: "e2e-p+ss"%s } },`, s.url, extra))
	g.start()
	t.Cleanup(g.kill)
	return g, up
}

var noAnswer = refusal{503, "auth-unavailable", ""}

func bearerOf(token string) string { return "Authorization: Bearer " + token }

func TestOpaqueTokens(t *testing.T) {
	s := newIntrospector(t)
	g, _ := introspecting(t, s, "")
	if s.count.Load() != 0 {
		t.Error("asked before there was a token")
	}
	token := s.knows("2YotnFZFEjr1zCsicMWpAA~+/.==", live("scope", "read", "username", "Alice"))
	for range 3 {
		if got := g.admits("opaque", "/asked", token).sent("X-User"); len(got) != 1 || got[0] != "Alice" {
			t.Errorf("upstream sees %q", got)
		}
	}
	g.admits("with its scope", "/scoped", token)
	if n := s.count.Load(); n != 1 {
		t.Errorf("%d questions", n)
	}
	g.refuses("without", refusal{403, "forbidden", `Bearer realm="oncegate", error="insufficient_scope", scope="read"`}, "/scoped", bearerOf(s.knows("noscope", live())))
	g.admits("signed, beside", "/both", hs(t))
	if n := s.count.Load(); n != 2 {
		t.Errorf("%d questions: a signed token was given away", n)
	}
	g.admits("opaque, beside", "/both", token)
	jwt := hs(t, "iss", "https://asked.test/")
	g.admits("its own JWT", "/both", s.knows(jwt, live("iss", "https://asked.test/")))
	forged := hs(t)
	forged = forged[:len(forged)-8] + "AAAAAAAA"
	g.refuses("forged: the endpoint has no say", badToken, "/both", bearerOf(s.knows(forged, live())))
	g.refuses("opaque where only signed ones are taken", badToken, "/main", bearerOf(token))
	g.refuses("no token", noCredential, "/asked")
	for metric, want := range map[string]string{
		`gateway_auth_introspections_total{issuer="asked",result="failure"}`: "0",
		`gateway_auth_total{issuer="asked",result="cached"}`:                 "4",
	} {
		if got := g.metric(metric); got != want {
			t.Errorf("%s is %q", metric, got)
		}
	}
	before := g.metric(reloadsOK)
	g.replace("audiences: [api], introspection", "audiences: [other], introspection")
	g.signal(syscall.SIGHUP)
	g.eventually("the reload", func() bool { return g.metric(reloadsOK) != before })
	g.refuses("another audience, its token cached", badToken, "/asked", bearerOf(token))
	g.soundLog(token, "noscope", jwt, "e2e-p+ss")
}

// Case 60: that a token is active does not say that it is for us, and nothing but true is active.
func TestCase60IntrospectedTokensThatMustNotPass(t *testing.T) {
	s := newIntrospector(t)
	g, up := introspecting(t, s, "")
	past := time.Now().Unix() - 60
	for name, claims := range map[string]any{
		"inactive": object{"active": false}, "unknown": nil, "text": live("active", "true"), "one": live("active", 1), "missing": live("active", omit),
		"null": live("active", nil), "aud": live("aud", "other"), "no aud": live("aud", omit), "iss": live("iss", "https://id.test/"), "exp": live("exp", past), "no exp": live("exp", omit),
		"nbf": live("nbf", past+3600), "sub": live("sub", omit), "cnf": live("cnf", object{"jkt": "x"}), "refresh": live("token_use", "refresh_token"),
	} {
		token := s.knows("case60-"+strings.ReplaceAll(name, " ", "-"), claims)
		g.refuses(name, badToken, "/asked", bearerOf(token))
		asked := s.count.Load()
		g.refuses(name+", again", badToken, "/asked", bearerOf(token))
		if s.count.Load() != asked && name != "nbf" {
			t.Errorf("%s: asked twice", name)
		}
	}
	if up.count.Load() != 0 {
		t.Error("one went through")
	}
}

// Case 61: a failing endpoint is 503 with Retry-After, never a verdict on the token, and remembered by nobody.
func TestCase61IntrospectionThatFails(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"500":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"401":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) },
		"HTML":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>{\"active\":false}</html>") },
		"timeout": func(_ http.ResponseWriter, r *http.Request) { _ = r.ParseForm(); <-r.Context().Done() },
		"huge": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"active":false,"x":"`)
			for range 4096 {
				if _, err := w.Write([]byte(strings.Repeat("x", 4096))); err != nil {
					return
				}
			}
			fmt.Fprint(w, `"}`)
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusTemporaryRedirect)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newIntrospector(t)
			g, _ := introspecting(t, s, ", timeout: 300ms")
			seen, fresh := s.knows("seen", live()), s.knows("fresh", live())
			g.admits("before", "/asked", seen)
			s.does(answer)
			for range 4 {
				got := g.refuses("no answer", noAnswer, "/asked", bearerOf(fresh))
				if after := got.one("Retry-After"); after == "" || after == "0" {
					t.Errorf("Retry-After: %q", after)
				}
			}
			if n := s.count.Load(); n != 4 { // the first, and three until it is left in peace
				t.Errorf("%d questions", n)
			}
			g.admits("seen before", "/asked", seen)
			g.admits("another issuer", "/both", hs(t))
			s.does(s.answers)
			g.eventually("well again", func() bool {
				return speak(t, g.address, line("GET", "/asked", bearerOf(fresh))).status == 200
			})
			if status, _ := g.get(g.admin, "/readyz"); status != 200 {
				t.Error("not ready")
			}
		})
	}
}

// Forged tokens of one address stop being judged; tokens that were seen go on, and so does another address.
func TestForgedTokensOfOneAddress(t *testing.T) {
	up := newMirror(t)
	g := prepare(t, fmt.Sprintf("upstreams: { up: { targets: [%q] } }\nroutes:\n  - { id: main, match: { path: /main }, auth: { issuers: [far] }, to: up }\n", up.url))
	g.replace("drain:", "trusted_proxies: [127.0.0.1], limits: { failed_tokens_per_ip: 0.01% }, drain:")
	g.replace("issuers: {", fmt.Sprintf(`issuers: { far: { issuer: "https://far.test/", audiences: [api], keys: [%q], algorithms: [ES384] },`, store(t, "k.pem", publicPEM(t, signerOf("ES384")))))
	g.start()
	t.Cleanup(g.kill)
	sign := func(n int) string {
		return mint(t, "ES384", signerOf("ES384"), object{"alg": "ES384"}, sound("iss", "https://far.test/", "n", n))
	}
	seen := sign(0)
	g.admits("good", "/main", seen)
	judged := 0
	var limited spoken
	for n := range 40 {
		forged := sign(1)
		forged = forged[:len(forged)-20] + fmt.Sprintf("%018dAA", n)
		got := speak(t, g.address, line("GET", "/main", bearerOf(forged), "X-Forwarded-For: 203.0.113.7"))
		switch got.status {
		case 401:
			judged++
		case 429:
			limited = got
		default:
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
	if judged < 2 || judged > 3 { // 10 s at 0.01 % are 1 ms, of 0.7 ms each
		t.Errorf("%d forged tokens were judged", judged)
	}
	if limited.kind() != "rate-limited" || limited.one("Retry-After") == "" || limited.one("WWW-Authenticate") != "" || !strings.Contains(limited.body, `"failed-tokens"`) {
		t.Errorf("%s\n%s", limited.head, limited.body)
	}
	for name, row := range map[string]struct {
		token, from string
		want        int
	}{"seen before": {seen, "203.0.113.7", 200}, "new": {sign(2), "203.0.113.7", 429}, "another address": {sign(3), "203.0.113.8", 200}} {
		if got := speak(t, g.address, line("GET", "/main", bearerOf(row.token), "X-Forwarded-For: "+row.from)); got.status != row.want {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	before := g.metric(reloadsOK)
	g.replace("failed_tokens_per_ip: 0.01%", "failed_tokens_per_ip: 0%")
	g.signal(syscall.SIGHUP)
	g.eventually("the reload", func() bool { return g.metric(reloadsOK) != before })
	if got := speak(t, g.address, line("GET", "/main", bearerOf(sign(4)), "X-Forwarded-For: 203.0.113.7")); got.status != 200 {
		t.Errorf("not limited: %d %s", got.status, got.body)
	}
}

// What is wrong with introspection is said at its line; explain asks only when it is given a token.
func TestIntrospectionInTheDocument(t *testing.T) {
	s := newIntrospector(t)
	g := prepare(t, `upstreams: { up: { targets: ["http://127.0.0.1:1"] } }
routes:
  - { id: asked, match: { path: /asked }, auth: { issuers: [asked] }, to: up }
`)
	g.replace("issuers: {", fmt.Sprintf("issuers: {\n  asked: { issuer: \"https://asked.test/\", audiences: [api], introspection: { url: %q, client_id: gateway, client_secret: \"e2e-p+ss\" } },\n"+
		"  again: { issuer: \"https://again.test/\", audiences: [api], introspection: { url: \"https://again.test/\", client_id: a, client_secret: b } },", s.url))
	code, out, failure := command(t, "", "explain", "-config", g.file, "GET", "/asked")
	if !strings.Contains(out, "asked about at "+s.url) || strings.Contains(out+failure, "e2e-p") || s.count.Load() != 0 {
		t.Errorf("%d: %s%s; %d questions", code, out, failure, s.count.Load())
	}
	token := s.knows("opaque", live())
	if _, out, failure := command(t, "", "explain", "-config", g.file, "-H", bearerOf(token), "GET", "/asked"); !strings.Contains(out, "passes as alice of issuer asked") || s.count.Load() != 1 {
		t.Errorf("%s%s; %d questions", out, failure, s.count.Load())
	}
	for change, want := range map[[2]string]string{
		{"introspection:", "algorithms: [RS256], introspection:"}:               "algorithms",
		{"introspection:", "jwks: \"https://id.test/\", introspection:"}:        "can't stand together",
		{"introspection:", "typ: at+jwt, introspection:"}:                       "typ can't be demanded",
		{s.url, "http://id.test/introspect"}:                                    "loopback",
		{`client_id: gateway, `, ""}:                                            "client_id is missing",
		{`, client_secret: "e2e-p+ss"`, ""}:                                     "client_secret is missing",
		{`"e2e-p+ss" }`, `"e2e-p+ss", ca: /no/such.pem }`}:                      "/no/such.pem",
		{`"e2e-p+ss" }`, `"e2e-p+ss", keep: 1h }`}:                              "keep",
		{`issuers: [asked]`, `issuers: [asked, again]`}:                         "one issuer with introspection fits a route",
		{`url: "` + s.url + `"`, `endpoint: "x"`}:                               "endpoint",
		{`timeout: 5s`, `timeout: 5s }, limits: { failed_tokens_per_ip: 200% `}: "failed_tokens_per_ip",
	} {
		file := g.file + ".bad"
		text, err := os.ReadFile(g.file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), change[0]) {
			t.Fatalf("%q does not stand there", change[0])
		}
		if err := os.WriteFile(file, []byte(strings.Replace(string(text), change[0], change[1], 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, failure := command(t, "", "check", "-config", file)
		if code == 0 || !strings.Contains(out+failure, want) {
			t.Errorf("%q: %d %s%s", change[1], code, out, failure)
		}
	}
}
