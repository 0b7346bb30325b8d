package auth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

const keyPlain = `ApiKey realm="oncegate"`

func hashOf(key string) string {
	d := sha256.Sum256([]byte(key))
	return hex.EncodeToString(d[:])
}

func partners(rows ...APIKeyRow) map[string]APIKeysConfig {
	return map[string]APIKeysConfig{"partners": {Header: "X-Api-Key", Keys: rows}}
}

func keyRow(id, key string) APIKeyRow { return APIKeyRow{ID: id, SHA256: OneOrMany{hashOf(key)}} }

// keyed makes an authority with the issuer main and these lists.
func keyed(t testing.TB, lists map[string]APIKeysConfig) *Authority {
	t.Helper()
	a, err := NewAuthority(map[string]IssuerConfig{"main": secretIssuer()}, nil, Deps{APIKeys: lists})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func keyRoute(t testing.TB, rows ...APIKeyRow) *route {
	t.Helper()
	return newRoute(t, keyed(t, partners(rows...)), Config{APIKeys: []string{"partners"}}, ForwardConfig{})
}

// send asks with these fields: name, value, name, value.
func (r *route) send(fields ...string) (*pipeline.Memory, error) {
	m := pipeline.NewMemory("GET", "/orders?api_key=right")
	for i := 0; i < len(fields); i += 2 {
		m.WithHeader(fields[i], fields[i+1])
	}
	return m, r.handler.Serve(context.Background(), &m.Exchange)
}

// turnedAway demands a reason, its challenges, and that nobody is known.
func turnedAway(t *testing.T, name string, m *pipeline.Memory, err error, want Reason, challenges ...string) {
	t.Helper()
	got := m.Sent.Values("WWW-Authenticate")
	if err != want || strings.Join(got, " | ") != strings.Join(challenges, " | ") || !m.Client.Anonymous() || m.Client.Claims != nil {
		t.Errorf("%s: %v, challenges %q", name, err, got)
	}
	if string(m.Sent.Header("Cache-Control")) != "no-store" {
		t.Errorf("%s: the answer may be stored", name)
	}
}

// Case 66: a key is good or it is not; nobody learns why.
func TestCase66APIKeys(t *testing.T) {
	row := keyRow("acme", "right")
	row.Scopes, row.Claims = []string{"orders:read"}, map[string]string{"plan": "gold"}
	a := keyed(t, partners(row, keyRow("other", "another")))
	r := newRoute(t, a, Config{APIKeys: []string{"partners"}, Require: Require{Scopes: []string{"orders:read"}}}, ForwardConfig{Claims: map[string]string{"X-User": "sub", "X-Plan": "plan"}})
	for _, header := range []string{"X-Api-Key", "x-api-key", "X-API-KEY"} {
		m, err := r.send(header, "right")
		if err != nil || m.Client.Identity != "partners|acme" || m.Client.Subject != "acme" || m.Client.Issuer != "partners" {
			t.Errorf("%s: %v %+v", header, err, m.Client)
		}
		for name, want := range map[string]string{"sub": "acme", "plan": "gold", "scope": "orders:read"} {
			if got, ok := m.Client.Claims.Claim(name); !ok || got != want {
				t.Errorf("claim %s: %q", name, got)
			}
		}
		if got := outgoing(m); got["X-User"] != "=acme" || got["X-Plan"] != "=gold" || got["x-api-key"] != "removed" {
			t.Errorf("upstream: %v", got)
		}
	}
	for name, key := range map[string]string{
		"unknown": "wrong", "other case": "RIGHT", "blank": "right ", "its hash": hashOf("right"), "list": "right, right", "long": strings.Repeat("k", maxAPIKey+1), "NUL": "right\x00",
	} {
		m, err := r.send("X-Api-Key", key)
		turnedAway(t, name, m, err, UnknownAPIKey, keyPlain)
	}
	m, err := r.send()
	turnedAway(t, "in the query", m, err, NoCredential, keyPlain)
	m, err = r.send("Authorization", "ApiKey right")
	turnedAway(t, "in Authorization", m, err, NoCredential, keyPlain)
	m, err = r.send("Cookie", "X-Api-Key=right")
	turnedAway(t, "in a cookie", m, err, NoCredential, keyPlain)
	m, err = r.send("X-Api-Key", "")
	turnedAway(t, "empty", m, err, NoCredential, keyPlain)
	m, err = r.send("X-Api-Key", "another")
	turnedAway(t, "not allowed here", m, err, MissingScope, `ApiKey realm="oncegate", error="insufficient_scope", scope="orders:read"`)
	if m.Problem.Scopes != "orders:read" || pipeline.KindOf(err) != pipeline.Forbidden {
		t.Errorf("scopes %q", m.Problem.Scopes)
	}
	m, err = newRoute(t, a, Config{APIKeys: []string{"partners"}, Require: Require{Claims: map[string]ClaimMatch{"plan": {In: OneOrMany{"gold"}}}}}, ForwardConfig{}).send("X-Api-Key", "another")
	turnedAway(t, "another plan", m, err, MissingClaim, `ApiKey realm="oncegate", error="insufficient_scope"`)
	long := strings.Repeat("k", maxAPIKey)
	if _, err := keyRoute(t, keyRow("acme", long), keyRow("b", long+"k")).send("X-Api-Key", long); err != nil {
		t.Errorf("a long key: %v", err)
	}
	m, err = keyRoute(t, keyRow("acme", long+"k")).send("X-Api-Key", long+"k")
	turnedAway(t, "too long a key", m, err, UnknownAPIKey, keyPlain)
	if r.reached != 3 {
		t.Errorf("%d requests went through", r.reached)
	}
}

// Case 66: expired and not yet valid, in exact time; two secrets are live while a client changes over.
func TestCase66KeysThatEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // begins at midnight, 2000-01-01
		row := keyRow("acme", "old")
		row.SHA256, row.NotBefore, row.Expires = OneOrMany{hashOf("old"), hashOf("new")}, "2000-01-02", "2000-01-03T12:00:00+02:00"
		r := keyRoute(t, row)
		look := func(key string, want Reason) {
			t.Helper()
			m, err := r.send("X-Api-Key", key)
			if want != accepted {
				turnedAway(t, key, m, err, want, keyPlain)
			} else if err != nil || m.Client.Identity != "partners|acme" {
				t.Errorf("%s: %v", key, err)
			}
		}
		time.Sleep(24*time.Hour - time.Second)
		look("old", APIKeyNotYet)
		time.Sleep(time.Second)
		look("old", accepted)
		look("new", accepted)
		time.Sleep(34*time.Hour - time.Second)
		look("new", accepted)
		time.Sleep(time.Second)
		look("old", APIKeyExpired)
		look("new", APIKeyExpired)
	})
}

func TestKeysAreBoundToNetworks(t *testing.T) {
	row := keyRow("acme", "right")
	row.CIDR = []string{"198.51.100.0/24", "2001:db8::1"}
	r := keyRoute(t, row)
	for address, want := range map[string]Reason{
		"198.51.100.7": accepted, "::ffff:198.51.100.7": accepted, "2001:db8::1": accepted, "2001:db8::2": APIKeyElsewhere, "198.51.101.1": APIKeyElsewhere, "": APIKeyElsewhere,
	} {
		m := pipeline.NewMemory("GET", "/").WithHeader("X-Api-Key", "right")
		m.ClientIP = addressOf(address)
		if err := r.handler.Serve(context.Background(), &m.Exchange); want != accepted {
			turnedAway(t, address, m, err, want, keyPlain)
		} else if err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// Exactly one credential: two are 400, be both good.
func TestOneCredential(t *testing.T) {
	lists := partners(keyRow("acme", "right"))
	lists["staff"] = APIKeysConfig{Header: "X-Staff-Key", Keys: []APIKeyRow{keyRow("bob", "right")}}
	lists["more"] = APIKeysConfig{Header: "x-api-key", Keys: []APIKeyRow{keyRow("carol", "third")}}
	a := keyed(t, lists)
	both := newRoute(t, a, Config{Issuers: []string{"main"}, APIKeys: []string{"partners", "staff", "more"}}, ForwardConfig{})
	tok := "Bearer " + hs()
	const badRequest = `Bearer realm="oncegate", error="invalid_request"`
	for name, fields := range map[string][]string{
		"token and key": {"Authorization", tok, "X-Api-Key", "right"}, "twice": {"X-Api-Key", "right", "x-api-key", "right"}, "two headers": {"X-Api-Key", "right", "X-Staff-Key", "right"},
		"bad token and key": {"Authorization", "Bearer x", "X-Api-Key", "right"}, "Basic and key": {"Authorization", "Basic x", "X-Api-Key", "right"}, "token and empty key": {"Authorization", tok, "X-Api-Key", ""},
	} {
		m, err := both.send(fields...)
		turnedAway(t, name, m, err, BadCredential, badRequest)
		if pipeline.KindOf(err) != pipeline.BadRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	for fields, who := range map[[2]string]string{{"Authorization", tok}: Identity(testIssuer, "alice"), {"X-Api-Key", "right"}: "partners|acme", {"X-Staff-Key", "right"}: "staff|bob", {"X-Api-Key", "third"}: "more|carol"} {
		if m, err := both.send(fields[0], fields[1]); err != nil || m.Client.Identity != who {
			t.Errorf("%s: %v %q", fields[0], err, m.Client.Identity)
		}
	}
	m, err := both.send()
	turnedAway(t, "none", m, err, NoCredential, plain, keyPlain)
	m, err = both.send("X-Api-Key", "")
	turnedAway(t, "an empty key", m, err, NoCredential, plain, keyPlain)
	m, err = both.send("Authorization", "Basic x")
	turnedAway(t, "Basic", m, err, OtherScheme, plain, keyPlain)
	m, err = both.send("Authorization", "Bearer x")
	turnedAway(t, "bad token", m, err, Malformed, invalid)
	m, err = both.send("X-Staff-Key", "third")
	turnedAway(t, "the key of another header", m, err, UnknownAPIKey, keyPlain)

	keys := newRoute(t, a, Config{APIKeys: []string{"partners"}}, ForwardConfig{Authorization: true})
	if m, err := keys.send("X-Api-Key", "right", "Authorization", "Basic for-the-upstream", "X-Staff-Key", "x"); err != nil || !m.Outgoing.Authorization {
		t.Errorf("fields that the route takes no credentials from: %v", err)
	}
	m, err = keys.send("X-Api-Key", "third")
	turnedAway(t, "a list that the route does not take", m, err, UnknownAPIKey, keyPlain)
	tokens := newRoute(t, a, Config{Issuers: []string{"main"}}, ForwardConfig{})
	m, err = tokens.send("X-Api-Key", "right")
	turnedAway(t, "a route without keys", m, err, NoCredential, plain)
}

func TestOptionalKeys(t *testing.T) {
	a := keyed(t, partners(keyRow("acme", "right")))
	r := newRoute(t, a, Config{APIKeys: []string{"partners"}, Issuers: []string{"main"}, Optional: true}, ForwardConfig{})
	if m, err := r.send(); err != nil || !m.Client.Anonymous() {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		field  [2]string
		reason Reason
	}{"wrong": {[2]string{"X-Api-Key", "wrong"}, UnknownAPIKey}, "empty": {[2]string{"X-Api-Key", ""}, NoCredential}, "token": {[2]string{"Authorization", "Bearer x"}, Malformed}} {
		if _, err := r.send(c.field[0], c.field[1]); err != c.reason {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A key never goes upstream, not even from a route that takes none; unless the route says so.
func TestKeysStayHere(t *testing.T) {
	a := keyed(t, partners(keyRow("acme", "right")))
	for name, cfg := range map[string]Config{"keys": {APIKeys: []string{"partners"}}, "open": {None: true}, "optional": {Issuers: []string{"main"}, Optional: true}} {
		m, err := newRoute(t, a, cfg, ForwardConfig{}).send("X-Api-Key", "right")
		if got := outgoing(m); err != nil || got["x-api-key"] != "removed" {
			t.Errorf("%s: %v %v", name, err, got)
		}
		m, err = newRoute(t, a, cfg, ForwardConfig{APIKey: true}).send("X-Api-Key", "right")
		if got := outgoing(m); err != nil || got["x-api-key"] != "" {
			t.Errorf("%s, forwarded: %v %v", name, err, got)
		}
	}
}

func TestAHeaderIsForKeysOrForClaims(t *testing.T) {
	a := keyed(t, partners(keyRow("acme", "right")))
	for _, cfg := range []Config{{None: true}, {Issuers: []string{"main"}}} {
		if _, err := New(cfg, ForwardConfig{Claims: map[string]string{"X-API-Key": "sub"}}, a); err == nil {
			t.Errorf("%v compiles", cfg)
		}
	}
	if got := KeyHeaders(map[string]APIKeysConfig{"a": {Header: "X-B"}, "b": {}, "c": {Header: "x-b"}}); strings.Join(got, " ") != "x-api-key x-b" {
		t.Error(got)
	}
}

// A key that leaves the document is nobody's from the reload on; so are its scopes.
func TestReloadDropsKeys(t *testing.T) {
	row := keyRow("acme", "right")
	row.Scopes = []string{"read"}
	old := keyed(t, partners(row, keyRow("b", "leaving")))
	row.Scopes = nil
	next, err := NewAuthority(map[string]IssuerConfig{"main": secretIssuer()}, old, Deps{APIKeys: partners(row)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(next.Close)
	r := newRoute(t, next, Config{APIKeys: []string{"partners"}, Require: Require{Scopes: []string{"read"}}}, ForwardConfig{})
	if _, err := r.send("X-Api-Key", "leaving"); err != UnknownAPIKey {
		t.Error(err)
	}
	if _, err := r.send("X-Api-Key", "right"); err != MissingScope {
		t.Error(err)
	}
}

func TestListsThatDoNotCompile(t *testing.T) {
	row := keyRow("acme", "right")
	with := func(change func(*APIKeyRow)) map[string]APIKeysConfig {
		changed := row
		change(&changed)
		return partners(changed)
	}
	twice := partners(row)
	twice["more"] = APIKeysConfig{Header: "x-API-key", Keys: []APIKeyRow{keyRow("bob", "right")}}
	many := map[string]APIKeysConfig{}
	for _, c := range "abcde" {
		many[string(c)] = APIKeysConfig{Header: "X-" + string(c)}
	}
	for want, lists := range map[string]map[string]APIKeysConfig{
		"64 hex digits":           with(func(r *APIKeyRow) { r.SHA256 = OneOrMany{"right"} }),
		"key acme: sha256":        with(func(r *APIKeyRow) { r.SHA256 = OneOrMany{strings.Repeat("g", 64)} }),
		"the same as key acme":    partners(row, keyRow("b", "right")),
		"of list more as well":    twice,
		"the id":                  with(func(r *APIKeyRow) { r.ID = "a|b" }),
		"not a time":              with(func(r *APIKeyRow) { r.Expires = "soon" }),
		"not a network":           with(func(r *APIKeyRow) { r.CIDR = []string{"10.0.0.1/8"} }),
		"api_keys a:b: the name":  {"a:b": {}},
		"at most 4 different":     many,
		"api_keys partners: key ": with(func(r *APIKeyRow) { r.NotBefore = "2000" }),
	} {
		_, err := NewAuthority(nil, nil, Deps{APIKeys: lists})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), `"right"`) {
			t.Errorf("wanted %q: %v", want, err)
		}
	}
	a := keyed(t, partners(row))
	for _, cfg := range []Config{{APIKeys: []string{"nobody"}}, {}} {
		if _, err := New(cfg, ForwardConfig{}, a); err == nil {
			t.Errorf("%v compiles", cfg)
		}
	}
}

func TestValidateKeys(t *testing.T) {
	check := func(change func(*APIKeysConfig, *APIKeyRow), words ...string) {
		t.Helper()
		c := partners(keyRow("acme", "right"))["partners"]
		change(&c, &c.Keys[0])
		wants(t, found(&c), words...)
	}
	row := func(change func(*APIKeyRow)) func(*APIKeysConfig, *APIKeyRow) {
		return func(_ *APIKeysConfig, r *APIKeyRow) { change(r) }
	}
	check(row(func(*APIKeyRow) {}))
	check(row(func(r *APIKeyRow) {
		r.SHA256, r.NotBefore, r.Expires, r.CIDR = append(r.SHA256, hashOf("x")), "2027-01-01", "2027-01-02", []string{"10.0.0.0/8"}
	}))
	for _, header := range []string{"Authorization", "cookie", "X_Key", "X Key", "Host", "X-Forwarded-Key"} {
		check(func(c *APIKeysConfig, _ *APIKeyRow) { c.Header = header }, "x.header: ")
	}
	check(func(c *APIKeysConfig, _ *APIKeyRow) { c.Keys = nil }, "x.keys: the list holds no key")
	check(func(c *APIKeysConfig, r *APIKeyRow) { c.Keys = append(c.Keys, *r) }, "x.keys[1].id: ", "x.keys[1].sha256: the secret is the same as one of key acme")
	check(row(func(r *APIKeyRow) { r.SHA256 = append(r.SHA256, strings.ToUpper(r.SHA256[0])) }), "x.keys[0].sha256: the secret is the same")
	check(row(func(r *APIKeyRow) { r.ID = "a b" }), "x.keys[0].id: ")
	check(row(func(r *APIKeyRow) { r.SHA256 = OneOrMany{hashOf("password")} })) // config warns of it
	check(row(func(r *APIKeyRow) { r.Scopes = []string{"ok", "a b"} }), "x.keys[0].scopes[1]: ")
	check(row(func(r *APIKeyRow) { r.Claims = map[string]string{"sub": "root", "plan": "x"} }), "x.keys[0].claims.sub: ")
	check(row(func(r *APIKeyRow) { r.CIDR = []string{"10.0.0.0/8", "10.0.0.1/8"} }), "x.keys[0].cidr[1]: ")
	check(row(func(r *APIKeyRow) { r.NotBefore, r.Expires = "2027-01-02", "2027-01-02" }), "x.keys[0].expires: the key ends before it begins")
	check(row(func(r *APIKeyRow) { r.NotBefore, r.Expires = "x", "y" }), "x.keys[0].not_before: ", "x.keys[0].expires: ")
	problems := units.NewProblems()
	named := partners(keyRow("acme", "right"))["partners"]
	named.Validate(problems.Key("api_keys").Key("a|b"))
	if list := problems.List(); len(list) != 1 || list[0].Path != "api_keys.a|b" {
		t.Errorf("a list's name: %v", list)
	}
	c := partners(APIKeyRow{ID: "acme", SHA256: OneOrMany{"my-plain-secret"}})["partners"]
	if got := found(&c); !strings.Contains(got, "SHA-256 of the key") || strings.Contains(got, "my-plain") {
		t.Error(got)
	}
}

func TestKeysAreNoTokens(t *testing.T) {
	if KeyIdentity("3:abc", "x") != "3:abc|x" || isKeyName("3:abc") || isKeyName("a|b") || isKeyName("") || !isKeyName("a.B-c_9@x") {
		t.Error("an identity of a key can be that of a token")
	}
}
