package e2e

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// guard is a way of asking who somebody is, or from where. Each has protected routes of its own in TestNoSpellingGetsPastAGuard,
// beside routes that are open to all: a new way joins by one line in guards, or in certificateGuards when it needs TLS.
type guard struct {
	name    string
	auth    string                             // of the route, in YAML
	good    []string                           // fields that pass
	prove   func(method, path string) []string // the same for a credential of one request; path is canonical
	bad     []string                           // fields that do not; nil: sending nothing
	shows   *tls.Certificate                   // what passes with good; nil: none is needed
	issuers string                             // entries of issuers that auth names, each with a comma behind
	lists   string                             // lines of the document for lists that auth names: basic_users: { ... }
}

func (w guard) passes(method, path string) []string {
	if w.prove != nil {
		return w.prove(method, path)
	}
	return w.good
}

func guards(t *testing.T) []guard {
	t.Helper()
	field := func(pairs ...any) string { return "Authorization: Bearer " + hs(t, pairs...) }
	wrong := []string{field("aud", "reports")} // good for another route
	asked, h := newIntrospector(t), newHolder(t)
	opaque := asked.knows("opaque-0123456789", live())
	proven := func(method, path string) []string { return h.fields(h.proof(path, "htm", method)) }
	return []guard{
		{name: "token", auth: `{ issuers: [main] }`, good: []string{field()}},
		{name: "audience", auth: `{ issuers: [main] }`, good: []string{field()}, bad: wrong},
		{name: "key", auth: `{ api_keys: [partners] }`, good: []string{"X-Api-Key: " + guardKey}},
		{name: "key-elsewhere", auth: `{ api_keys: [partners] }`, good: []string{"X-Api-Key: " + guardKey}, bad: []string{"X-Api-Key: other-" + guardKey}},
		{name: "either", auth: `{ issuers: [main], api_keys: [partners] }`, good: []string{field()}},
		{name: "optional", auth: `{ issuers: [main], optional: true }`, good: []string{field()}, bad: wrong},
		{name: "scope", auth: `{ issuers: [main], require: { scopes: [admin] } }`, good: []string{field("scope", "admin")}, bad: []string{field()}},
		{name: "expression", auth: `{ issuers: [main], require: { expression: 'claims.role == "admin" && request.path.startsWith("/expression/")' } }`, good: []string{field("role", "admin")}, bad: []string{field("role", "user")}},
		{name: "dpop", auth: `{ issuers: [bound] }`, prove: proven, bad: h.fields(h.proof("/dpop/public/x")),
			issuers: `bound: { issuer: "https://id.test/", audiences: [api], secret: "` + secret + `", algorithms: [HS256], dpop: { base: "` + proofBase + `", required: true } },`},
		{name: "dpop-unproven", auth: `{ issuers: [bound] }`, prove: proven, bad: []string{field()}},
		{name: "dpop-as-bearer", auth: `{ issuers: [main, bound-else] }`, good: []string{field()}, bad: []string{"Authorization: Bearer " + h.token},
			issuers: `bound-else: { issuer: "https://bound.test/", audiences: [api], secret: "` + secret + `", algorithms: [HS256], dpop: { base: "` + proofBase + `" } },`},
		{name: "asked", auth: `{ issuers: [asked] }`, good: []string{bearerOf(opaque)}, bad: []string{bearerOf("opaque-inactive-0123456789")},
			issuers: fmt.Sprintf(`asked: { issuer: "https://asked.test/", audiences: [api], introspection: { url: "%s/introspect", client_id: gateway, client_secret: "e2e-p+ss" } },`, asked.url)},
		{name: "basic", auth: `{ basic: [ops] }`, good: []string{login("anna:" + guardKey)}, bad: []string{login("anna:wrong")},
			lists: fmt.Sprintf("basic_users: { ops: { users: [ { name: anna, hash: %q } ] } }\n", hashed(t, guardKey))},
		{name: "basic-or-token", auth: `{ basic: [ops], issuers: [main] }`, good: []string{field()}},
		{name: "address", auth: `none, addresses: { allow: [203.0.113.0/24] }`, good: []string{"X-Forwarded-For: 203.0.113.9"}},
		{name: "address-of-another", auth: `none, addresses: { deny: [127.0.0.0/8] }`, good: []string{"X-Forwarded-For: 203.0.113.9"}, bad: []string{"X-Real-IP: 203.0.113.9", "Forwarded: for=203.0.113.9"}},
	}
}

const guardKey = "guard-key-0123456789abcdef"

// guardedNeighbours gives each guard /name/admin, below and exactly, and writing to /name/users/{id}; all else, rewritten or
// not, is open to everybody and goes to another upstream.
func guardedNeighbours(t *testing.T, ways []guard, inner, outer string) *gateway {
	t.Helper()
	g := neighbours(t, ways, inner, outer)
	g.replace("listen: {", "listen: { trusted_proxies: [127.0.0.1/32],")
	g.start()
	t.Cleanup(g.kill)
	return g
}

func neighbours(t *testing.T, ways []guard, inner, outer string) *gateway {
	t.Helper()
	var routes, issuers, lists strings.Builder
	for _, w := range ways {
		issuers.WriteString(w.issuers)
		lists.WriteString(w.lists)
		fmt.Fprintf(&routes, "  - { id: %[1]s, match: { path: /%[1]s/admin/** }, auth: %[2]s, to: inner }\n", w.name, w.auth)
		fmt.Fprintf(&routes, "  - { id: %[1]s-id, match: { path: \"/%[1]s/users/{id}\", methods: [DELETE, POST] }, auth: %[2]s, to: inner }\n", w.name, w.auth)
		fmt.Fprintf(&routes, "  - { id: %[1]s-read, match: { path: \"/%[1]s/users/{id}\", methods: [GET, HEAD] }, auth: none, to: outer }\n", w.name)
		fmt.Fprintf(&routes, "  - { id: %[1]s-cut, match: { path: /%[1]s/cut/** }, rewrite: { strip_prefix: /%[1]s/cut, add_prefix: /%[1]s/open }, auth: none, to: outer }\n", w.name)
		fmt.Fprintf(&routes, "  - { id: %[1]s-item, match: { path: \"/%[1]s/item/{id}\" }, rewrite: { path: \"/%[1]s/{id}/view\" }, auth: none, to: outer }\n", w.name)
		fmt.Fprintf(&routes, "  - { id: %[1]s-public, match: { path: /%[1]s/public/** }, auth: none, to: outer }\n", w.name)
	}
	g := prepare(t, fmt.Sprintf("upstreams: { inner: { targets: [%q] }, outer: { targets: [%q] } }\nroutes:\n%s  - { id: rest, match: { path: /** }, auth: none, to: outer }\n", inner, outer, routes.String())+
		fmt.Sprintf("api_keys: { partners: { keys: [ { id: acme, sha256: %s, scopes: [admin] } ] } }\n", digest(guardKey))+lists.String())
	g.replace("issuers: {", "issuers: {"+issuers.String())
	return g
}

// spellings are targets that some server, proxy or framework takes for /G/admin/x. None may reach it unauthorised, and the
// open routes may not hand them on as something that is.
var spellings = []string{
	// plain
	"/G/admin/x", "/G/admin", "/G/admin/", "/G/admin?x", "/G/admin/x?y=/../public/", "/G/admin/x/", "/G/admin/x/y", "/G/admin/public/x",
	// slashes
	"//G/admin/x", "/G//admin/x", "/G/admin//x", "///G///admin///x", "/G/public//../admin/x", "//G/public/../admin/x", "//gw.test/G/admin/x", "//evil.test/G/admin/x",
	// dots
	"/./G/admin/x", "/G/./admin/x", "/G/admin/./x", "/G/admin/.", "/a/../G/admin/x", "/G/public/../admin/x", "/G/public/../admin", "/G/public/x/../../admin/x", "/../G/admin/x", "/G/admin/x/..", "/G/public/..", "/G/admin/public/../x", "/G/../G/admin/x",
	// dots in other words
	"/a/%2e%2e/G/admin/x", "/G/public/%2E%2E/admin/x", "/G/public/.%2e/admin/x", "/G/public/%2e./admin/x", "/G/%2e/admin/x", "/G/public/%2e%2e%2fadmin/x", "/G/public/..%2fadmin/x", "/G/public/..%2Fadmin/x", "/G/public%2f..%2fadmin/x", "/G/public%2f../admin/x",
	// escaped letters
	"/G/%61dmin/x", "/G/%61%64%6d%69%6e/x", "/G/adm%69n/x", "/%47/admin/x", "/G/admi%6E/x", "/G/%61dmin", "/G/admin/%78",
	// escaped separators
	"/G%2fadmin%2fx", "/G/admin%2fx", "/G%2Fadmin/x", "/G/admin%2Fx", "/%2fG/admin/x", "%2fG%2fadmin%2fx", "/G/public/%2fadmin/x", "/G/admin%5cx", "/G%5cadmin%5cx", "/G/public/..%5cadmin/x", "/G/public%5c..%5cadmin/x",
	// backslashes
	"/G\\admin\\x", "\\G\\admin\\x", "/G/public\\..\\admin\\x", "/G/public/..\\admin/x", "/\\G/admin/x",
	// parameters of dot segments
	"/G/public/..;/admin/x", "/G/public/..;a=b/admin/x", "/G/public/..%3b/admin/x", "/G/public/.;/../admin/x", "/..;/G/admin/x", "/G/.;/admin/x", "/G/public/%2e%2e;/admin/x",
	// escapes of escapes
	"/G/%2561dmin/x", "/a/%252e%252e/G/admin/x", "/G/public/%252e%252e%252fadmin/x", "/G%252fadmin/x", "/G/public/..%252fadmin/x", "/G/public/%25%32%65%25%32%65/admin/x", "/G/public/..%25%32%66admin/x",
	// overlong and other UTF-8
	"/G/public/%c0%ae%c0%ae/admin/x", "/G/public/..%c0%afadmin/x", "/G%c0%afadmin%c0%afx", "/G/public/%e0%80%ae%e0%80%ae/admin/x", "/G/public/..%e0%80%afadmin/x", "/G/public/..%f0%80%80%afadmin/x", "/G/%c1%a1dmin/x", "/G/public/..%c1%9cadmin/x",
	"/G/public/%uff0e%uff0e/admin/x", "/G/%u0061dmin/x", "/G/public/\xc0\xae\xc0\xae/admin/x", "/G/\xc1\xa1dmin/x",
	// ends of the target
	"/G/admin/x#", "/G/admin#/x", "/G/public#/../admin/x", "#/G/admin/x", "/#/../G/admin/x", "/G/admin%23/x", "/G/admin/x%00", "/G/admin%00/x", "/G/%00admin/x", "/G/admin/x%0d%0aX: y", "/G/admin%09/x", "/G/admin\t/x", "/G/admin/x%0a", "/G/admin%20", "/G/admin/x%3f", "/G/admin%3f/x",
	// absolute
	"http://gw.test/G/admin/x", "http://gw.test//G/admin/x", "http://gw.test/G/public/../admin/x", "http://gw.test/%47/admin/x", "http://evil.test/G/admin/x", "http://u@gw.test/G/admin/x", "HTTP://GW.TEST/G/admin/x", "https://gw.test/G/admin/x", "http:/G/admin/x", "http:///G/admin/x", "http://gw.test:1/G/admin/x", "ftp://gw.test/G/admin/x", "gw.test/G/admin/x", "G/admin/x", "*", "?/G/admin/x", "//gw.test@/G/admin/x", "http://gw.test\\@evil.test/G/admin/x",
	// broken escapes
	"/G/%6/admin", "/G/%zzadmin/x", "/G/admin%/x", "/G/admin%2", "/G/%admin/x",
	// where a prefix is cut off
	"/G/public../admin/x", "/G/public..;/admin/x", "/G/public/.../admin/x", "/G/publicx/../admin/x", "/G/public%2e%2e/admin/x", "/G/public/;/../admin/x", "/G/public//..//admin//x", "/G/public/..%00/admin/x",
	"/G/cut/../admin/x", "/G/cut../admin/x", "/G/cut/..;/admin/x", "/G/cut/%2e%2e/admin/x", "/G/cut/..%2fadmin/x", "/G/cut//../admin/x", "/G/cut/../../G/admin/x", "/G/cut//G/admin/x", "/G/cut%2f..%2fadmin/x", "/G/cut/.%2e/admin/x", "/G/cutadmin/x", "/G/cut\\..\\admin\\x", "/G/cut/x/../../admin/x", "/G/cut/..", "/G/cut/%252e%252e/admin/x", "/G/cut/%c0%ae%c0%ae/admin/x",
	"/G/item/", "/G/item/..", "/G/item/.", "/G/item/%2e%2e", "/G/item/..;x", "/G/item/..%2fadmin", "/G/item/%2fadmin", "/G/item/%2e", "/G/item/..%5cadmin", "/G/item/%252e%252e%252fadmin",
}

// kin are targets that are other paths for the gateway, and for RFC 3986: an open route may pass them on, as they are. An
// upstream that ignores case, parameters or blanks in a path must not stand behind both kinds of route; docs/security.md
// says so.
var kin = []string{"/G/ADMIN/x", "/g-/Admin/x", "/G/Admin", "/G/admin./x", "/G/admin../x", "/G/admin;a=b/x", "/G/admin;/x", "/G/admin%3ba/x", "/G/admin,x", "/G/admin%20/x", "/G/admin~1/x", "/G/adminx", "/G/a%CC%80dmin/x", "/G/%EF%BD%81dmin/x", "/G/admin%C2%A0/x", "/G/.admin/x", "/G/...", "/G/admin:80/x", "/G/admin@x"}

// protected recognises what an upstream was asked for, read with all the leniency there is, save for kin.
func protected(target string) bool {
	path, _, _ := strings.Cut(target, "?")
	path, _, _ = strings.Cut(path, "#")
	for range 3 {
		if plain, err := url.PathUnescape(path); err == nil {
			path = plain
		}
	}
	path = strings.ReplaceAll(path, "\\", "/")
	var kept []string
	for _, segment := range strings.Split(path, "/") {
		name, _, _ := strings.Cut(segment, "\x00")
		if name == ".." || strings.HasPrefix(name, "..;") {
			kept = kept[:max(0, len(kept)-1)]
		} else if name != "" && name != "." {
			kept = append(kept, name)
		}
	}
	return len(kept) > 1 && kept[1] == "admin"
}

func (o *origin) targets() (all []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range o.seen {
		all = append(all, strings.Fields(a.head)[1])
	}
	return all
}

// shout sends bytes and gives the status of the first answer, 0 when there is none.
func shout(g *gateway, text string) int {
	g.t.Helper()
	d := dialogOn(g.t, g.connect())
	defer d.Close()
	d.say(text)
	first, err := d.in.ReadString('\n')
	var status int
	if _, scanned := fmt.Sscanf(first, "HTTP/1.1 %d", &status); scanned != nil {
		g.t.Errorf("%.80q: %q %v", text, first, err)
	}
	return status
}

func TestNoSpellingGetsPastAGuard(t *testing.T) {
	if len(spellings) < 60 {
		t.Fatal("too few")
	}
	inner, outer := newOrigin(t), newOrigin(t)
	ways := guards(t)
	g := guardedNeighbours(t, ways, inner.url, outer.url)
	for _, w := range ways {
		g.sameForTheRightOne(w)
		g.noSpellingPasses(w, inner, "GET", "HEAD", "POST", "OPTIONS", "DELETE", "PROPFIND", "get", "Get")
	}
	for _, target := range outer.targets() {
		if protected(target) {
			t.Fatalf("an open route passed on %q", target)
		}
	}
	for _, w := range ways { // kin arrive as they were sent, so that nobody takes one for the other
		shout(g, line("GET", "/"+w.name+"/admin;a=b/x"))
		if head := outer.last().head; !strings.HasPrefix(head, "GET /"+w.name+"/admin;a=b/x HTTP/1.1\r\n") {
			t.Errorf("%q", head)
		}
	}
	g.soundLog(guardKey, "opaque-0123456789", "e2e-p+ss", strings.TrimPrefix(login("anna:"+guardKey), "Authorization: Basic "))
}

// The same where clients are told by their certificates: for who shows none, one in no list, and one of another scope.
func TestNoSpellingGetsPastACertificate(t *testing.T) {
	ca := newAuthority(t, "ca", nil)
	acme, beta, stranger := ca.client(t, "spiffe://acme.test/a", nil), ca.client(t, "spiffe://beta.test/a", nil), ca.client(t, "spiffe://stranger.test/a", nil)
	sum := sha256.Sum256(acme.Certificate[0])
	lists := "client_certificates: { partners: { clients: [ { id: acme, uri: \"spiffe://acme.test/*\", scopes: [admin] }, { id: beta, uri: \"spiffe://beta.test/*\" } ] } }\n"
	ways := []guard{
		{name: "certificate", auth: `{ certificates: [partners] }`, shows: &acme, lists: lists},
		{name: "certificate-scope", auth: `{ certificates: [partners], require: { scopes: [admin] } }`, shows: &acme},
		{name: "certificate-token", auth: `{ certificates: [partners], issuers: [main] }`, shows: &acme, bad: []string{"Authorization: Bearer " + hs(t, "aud", "reports")}},
		{name: "bound", auth: `{ issuers: [main] }`, shows: &acme, good: []string{"Authorization: Bearer " + hs(t, "cnf", object{"x5t#S256": b64(sum[:])})}, bad: []string{"Authorization: Bearer " + hs(t, "cnf", object{"x5t#S256": b64(sum[:])})}},
	}
	inner, outer := newOrigin(t), newOrigin(t)
	g := neighbours(t, ways, inner.url, outer.url)
	g.offersTLS("optional", ca.pem())
	g.start()
	t.Cleanup(g.kill)
	for _, w := range ways {
		g.tls = asHost("gw.test", acme)
		g.sameForTheRightOne(w)
		for _, cfg := range []*tls.Config{asHost("gw.test"), asHost("gw.test", stranger), asHost("gw.test", beta), asHost("other.test", acme)} {
			if g.tls = cfg; cfg.ServerName == "other.test" && w.name == "bound" || len(cfg.Certificates) > 0 && &cfg.Certificates[0].Certificate[0][0] == &beta.Certificate[0][0] && w.name == "certificate" {
				continue // who may
			}
			cfg.CurvePreferences = []tls.CurveID{tls.CurveP256} // thousands of handshakes: under -race the others take three times as long
			g.noSpellingPasses(w, inner, "GET", "POST", "OPTIONS")
		}
	}
	for _, target := range outer.targets() {
		if protected(target) {
			t.Fatalf("an open route passed on %q", target)
		}
	}
}

// sameForTheRightOne: what is the same path passes with the right credential.
func (g *gateway) sameForTheRightOne(w guard) {
	g.t.Helper()
	for _, path := range []string{"/G/admin/x", "/G/admin", "/G/%61dmin/x", "http://gw.test/G/admin/x"} {
		plain := strings.NewReplacer("http://gw.test", "", "%61", "a", "G", w.name).Replace(path)
		if status := shout(g, line("GET", strings.ReplaceAll(path, "G", w.name), w.passes("GET", plain)...)); status != 200 {
			g.t.Errorf("%s with the right credential, %s: %d", w.name, path, status)
		}
	}
}

func (g *gateway) noSpellingPasses(w guard, inner *origin, methods ...string) {
	g.t.Helper()
	before := inner.count()
	for _, spelling := range slices.Concat(spellings, kin) {
		target := strings.ReplaceAll(strings.ReplaceAll(spelling, "G", w.name), "%47", fmt.Sprintf("%%%02x%s", w.name[0], w.name[1:]))
		for _, method := range methods {
			if status := shout(g, line(method, target, w.bad...)); inner.count() != before {
				g.t.Fatalf("%s: %s %q reached a protected upstream as %q (%d)", w.name, method, target, inner.last().head, status)
			}
		}
	}
}

// What a client says beside the target changes neither method nor path: not at the guard, and not for an upstream that
// would believe it.
func TestNoFieldGetsPastAGuard(t *testing.T) {
	inner, outer := newOrigin(t), newOrigin(t)
	ways := guards(t)
	g := guardedNeighbours(t, ways, inner.url, outer.url)
	for _, w := range ways {
		users, admin, public := "/"+w.name+"/users/7", "/"+w.name+"/admin/x", "/"+w.name+"/public/x"
		if status := shout(g, line("DELETE", users, w.passes("DELETE", users)...)); status != 200 {
			t.Errorf("%s: DELETE with the right credential: %d", w.name, status)
		}
		before := inner.count()
		var fields []string
		for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-Method", "x-http-method-override", "X_HTTP_Method_Override"} {
			fields = append(fields, name+": DELETE")
		}
		for _, name := range []string{"X-Original-URL", "X-Rewrite-URL", "x-original-url", "X_Original_URL", "X-Forwarded-Uri", "X-Forwarded-Path", "X-Forwarded-Prefix", "X-Original-Uri"} {
			fields = append(fields, name+": "+admin)
		}
		for _, path := range []string{users, public, "/x", admin} {
			for _, method := range []string{"GET", "HEAD", "POST", "DELETE", "OPTIONS"} {
				if (method == "POST" || method == "DELETE" || method == "OPTIONS") && path != users && path != admin {
					continue
				}
				sent := append(append([]string{}, fields...), w.bad...)
				if shout(g, line(method, path, sent...)); inner.count() != before {
					t.Fatalf("%s: %s %s reached a protected upstream: %q", w.name, method, path, inner.last().head)
				}
				shout(g, line(method, path+"?_method=DELETE&method=DELETE", sent...))
			}
		}
	}
	overriding := regexp.MustCompile(`(?i)x[-_](http[-_]method|method[-_]override|original[-_](ur[li]|method)|rewrite[-_]url|forwarded[-_](uri|path|prefix))`)
	outer.mu.Lock()
	defer outer.mu.Unlock()
	if len(outer.seen) == 0 {
		t.Error("the open routes were never used")
	}
	for _, a := range outer.seen {
		if found := overriding.FindString(a.head); found != "" {
			t.Fatalf("%s went upstream: %q", found, a.head)
		}
		if !strings.HasPrefix(a.head, "GET ") && !strings.HasPrefix(a.head, "HEAD ") && !strings.HasPrefix(a.head, "OPTIONS ") {
			t.Errorf("an open route for reading passed on %q", a.head)
		}
	}
}
