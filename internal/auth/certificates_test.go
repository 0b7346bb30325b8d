package auth

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// shown is what a handshake said of a certificate with these names.
func shown(t testing.TB, names ...string) *pipeline.TLS {
	t.Helper()
	c := &x509.Certificate{Raw: []byte(strings.Join(names, " ")), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	for _, name := range names {
		kind, value, _ := strings.Cut(name, " ")
		switch kind {
		case "uri":
			u, err := url.Parse(value)
			if err != nil {
				t.Fatal(err)
			}
			c.URIs = append(c.URIs, u)
		case "dns":
			c.DNSNames = append(c.DNSNames, value)
		case "email":
			c.EmailAddresses = append(c.EmailAddresses, value)
		case "cn":
			c.Subject.CommonName = value
		}
	}
	return pipeline.NewTLS("api.example.com", c)
}

func acmeList(rows ...CertificateRow) map[string]ClientCertificatesConfig {
	return map[string]ClientCertificatesConfig{"partners": {Clients: rows}}
}

func listedAuthority(t testing.TB, deps Deps) *Authority {
	t.Helper()
	a, err := NewAuthority(map[string]IssuerConfig{"main": secretIssuer()}, nil, deps)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// over sends a request on a connection; change may add to it.
func (r *route) over(said *pipeline.TLS, change func(*pipeline.Memory)) (*pipeline.Memory, error) {
	m := pipeline.NewMemory("GET", "/orders")
	m.TLS, m.Secure = said, said != nil
	if change != nil {
		change(m)
	}
	return m, r.handler.Serve(context.Background(), &m.Exchange)
}

func TestCertificatesTellClients(t *testing.T) {
	pinned := shown(t, "uri spiffe://acme.test/pinned")
	pin := hex.EncodeToString(pinned.Thumbprint[:])
	var colons []string
	for i := 0; i < len(pin); i += 2 {
		colons = append(colons, strings.ToUpper(pin[i:i+2]))
	}
	a := listedAuthority(t, Deps{Clients: map[string]ClientCertificatesConfig{"partners": {Clients: []CertificateRow{
		{ID: "exact", URI: "spiffe://acme.test/orders"},
		{ID: "pin", SHA256: OneOrMany{strings.Join(colons, ":"), strings.Repeat("0", 64)}},
		{ID: "below", URI: "spiffe://acme.test/*"},
		{ID: "both", DNS: "Both.example.com", Email: "Ops@Example.com"},
		{ID: "host", DNS: "both.example.com"},
		{ID: "mail", Email: "Me@example.com"},
	}}, "others": {Clients: []CertificateRow{{ID: "other", DNS: "other.example.com"}}}}})
	r := newRoute(t, a, Config{Certificates: []string{"partners", "others"}}, ForwardConfig{})
	for _, c := range []struct {
		said *pipeline.TLS
		want string
	}{
		{shown(t, "uri spiffe://acme.test/orders"), "exact"}, {shown(t, "uri spiffe://b.test/x", "uri spiffe://acme.test/orders"), "exact"},
		{pinned, "pin"}, {shown(t, "uri spiffe://acme.test/orders/eu"), "below"}, {shown(t, "uri spiffe://acme.test/Orders"), "below"},
		{shown(t, "dns both.EXAMPLE.com", "email Ops@EXAMPLE.com"), "both"}, {shown(t, "dns both.example.com"), "host"},
		{shown(t, "dns both.example.com", "email ops@example.com"), "host"}, {shown(t, "email Me@example.com"), "mail"},
		{shown(t, "dns other.example.com"), "other"}, {shown(t, "dns other.example.com", "email Me@example.com"), "mail"},
		{shown(t, "email me@example.com"), ""}, {shown(t, "cn both.example.com"), ""}, {shown(t), ""}, {shown(t, "dns x.both.example.com"), ""},
		{shown(t, "uri spiffe://acme.test.evil/orders"), ""}, {shown(t, "uri spiffe://acme.test/"), ""}, {shown(t, "uri spiffe://acme.test/a/../b"), ""},
		{shown(t, "uri spiffe://acme.test/%2e%2e/b"), ""}, {shown(t, "uri spiffe://acme.test//b"), ""}, {shown(t, "uri spiffe://acme.test/b?x"), ""},
		{shown(t, "uri SPIFFE://acme.test/b"), "below"}, {shown(t, "dns spiffe://acme.test/orders"), ""},
	} {
		m, err := r.over(c.said, nil)
		if m.Client.Subject != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%v: %q, %v; want %q", c.said.Names, m.Client.Subject, err, c.want)
		}
		if c.want == "" && (err != NoSuchCertificate || string(m.Sent.Header("WWW-Authenticate")) != `Certificate realm="oncegate"`) {
			t.Errorf("%v: %v, challenge %q", c.said.Names, err, m.Sent.Header("WWW-Authenticate"))
		}
	}
}

// The same name of a token, a key, a user and a certificate is four clients.
func TestIdentitiesOfKindsNeverMeet(t *testing.T) {
	seen := map[string]bool{}
	for _, list := range []string{"a", "certificate", "basic", "1", "11"} {
		for _, id := range []string{"a", "basic", "1", "a-b"} {
			for _, identity := range []string{Identity(list, id), KeyIdentity(list, id), CertificateIdentity(list, id), BasicIdentity(list, id)} {
				if seen[identity] {
					t.Errorf("%q is two clients", identity)
				}
				seen[identity] = true
			}
		}
	}
}

// One certificate and one credential: what is sent with the request identifies, good or bad; the connection's certificate
// counts when nothing is sent.
func TestWhatIsSentGoesBeforeTheCertificate(t *testing.T) {
	a := listedAuthority(t, Deps{Clients: acmeList(CertificateRow{ID: "acme", URI: "spiffe://acme.test/orders", Scopes: []string{"read"}, Claims: map[string]string{"tier": "gold"}}),
		APIKeys: map[string]APIKeysConfig{"keys": {Keys: []APIKeyRow{{ID: "k", SHA256: OneOrMany{hashOf("a-long-key")}, Scopes: []string{"read"}}}}}})
	cfg := Config{Issuers: []string{"main"}, APIKeys: []string{"keys"}, Certificates: []string{"partners"}, Require: Require{Scopes: []string{"read"}}}
	r := newRoute(t, a, cfg, ForwardConfig{Claims: map[string]string{"X-Client": "sub", "X-Tier": "tier"}})
	known, stranger := shown(t, "uri spiffe://acme.test/orders"), shown(t, "uri spiffe://b.test/")
	header := func(name, value string) func(*pipeline.Memory) {
		return func(m *pipeline.Memory) { m.WithHeader(name, value) }
	}
	for name, c := range map[string]struct {
		said   *pipeline.TLS
		change func(*pipeline.Memory)
		who    string
		reason Reason
	}{
		"certificate":          {known, nil, "acme", accepted},
		"token":                {known, header("Authorization", "Bearer "+hs("scope", "read")), "alice", accepted},
		"bad token":            {known, header("Authorization", "Bearer "+hs("exp", 5)), "", Expired},
		"other scheme":         {known, header("Authorization", "Digest x"), "", OtherScheme},
		"key":                  {known, header("X-Api-Key", "a-long-key"), "k", accepted},
		"bad key":              {known, header("X-Api-Key", "another"), "", UnknownAPIKey},
		"stranger":             {stranger, nil, "", NoSuchCertificate},
		"stranger and token":   {stranger, header("Authorization", "Bearer "+hs("scope", "read")), "alice", accepted},
		"nothing":              {pipeline.NewTLS("api.example.com", nil), nil, "", NoCredential},
		"no TLS":               {nil, nil, "", NoCredential},
		"header of some proxy": {nil, header("X-Client-Cert", "spiffe://acme.test/orders"), "", NoCredential},
	} {
		m, err := r.over(c.said, c.change)
		if c.reason != accepted && err != c.reason || c.reason == accepted && err != nil || m.Client.Subject != c.who {
			t.Errorf("%s: %q, %v", name, m.Client.Subject, err)
		}
		if c.who == "acme" && (m.Client.Issuer != "partners" || m.Client.Identity != CertificateIdentity("partners", "acme")) {
			t.Errorf("%s: %+v", name, m.Client)
		}
	}
	scopeless := cfg
	scopeless.Require.Scopes = []string{"write"}
	m, err := newRoute(t, a, scopeless, ForwardConfig{}).over(known, nil)
	if got := string(m.Sent.Header("WWW-Authenticate")); err != MissingScope || got != `Certificate realm="oncegate", error="insufficient_scope", scope="write"` {
		t.Errorf("scope: %v, %q", err, got)
	}
	optional := cfg
	optional.Optional = true
	open := newRoute(t, a, optional, ForwardConfig{})
	if m, err := open.over(pipeline.NewTLS("api.example.com", nil), nil); err != nil || !m.Client.Anonymous() {
		t.Errorf("optional, nothing: %v", err)
	}
	if _, err := open.over(stranger, nil); err != NoSuchCertificate {
		t.Errorf("optional, stranger: %v", err)
	}
}

// A connection can outlive its certificate.
func TestCertificatesAreJudgedPerRequest(t *testing.T) {
	r := newRoute(t, listedAuthority(t, Deps{Clients: acmeList(CertificateRow{ID: "a", DNS: "a.test"})}), Config{Certificates: []string{"partners"}}, ForwardConfig{})
	said := shown(t, "dns a.test")
	for at, want := range map[time.Time]error{
		time.Now(): nil, said.Certificate.NotAfter: nil, said.Certificate.NotAfter.Add(time.Second): CertificateEnded, said.Certificate.NotBefore.Add(-time.Second): CertificateEnded,
	} {
		if _, err := r.over(said, func(m *pipeline.Memory) { m.Start = at }); err != want {
			t.Errorf("%v: %v", at, err)
		}
	}
}

// Case 70: a connection serves the host that its handshake was for, on routes that take certificates.
func TestCertificatesAreForTheirHost(t *testing.T) {
	a := listedAuthority(t, Deps{Clients: acmeList(CertificateRow{ID: "a", DNS: "a.test"})})
	with := newRoute(t, a, Config{Certificates: []string{"partners"}, Issuers: []string{"main"}, Optional: true}, ForwardConfig{})
	without := newRoute(t, a, Config{Issuers: []string{"main"}, Optional: true}, ForwardConfig{})
	for _, c := range []struct {
		sni, host string
		want      error
	}{
		{"a.test", "a.test", nil}, {"a.test", "A.Test:8443", nil}, {"A.test", "a.TEST", nil}, {"a.test", "b.test", OtherHost}, {"a.test", "sub.a.test", OtherHost},
		{"a.test", "127.0.0.1", OtherHost}, {"a.test", "[::1]:8443", OtherHost}, {"", "127.0.0.1:8443", nil}, {"", "[::1]", nil}, {"", "a.test", OtherHost},
	} {
		said := shown(t, "dns a.test")
		said.ServerName = strings.ToLower(c.sni)
		plain := pipeline.NewTLS(c.sni, nil)
		for _, tls := range []*pipeline.TLS{said, plain} {
			m, err := with.over(tls, func(m *pipeline.Memory) { m.WithHost(c.host) })
			if err != c.want {
				t.Errorf("SNI %q, Host %q: %v", c.sni, c.host, err)
			}
			if err != nil && (pipeline.KindOf(err) != pipeline.Misdirected || m.Sent.Header("WWW-Authenticate") != nil) {
				t.Errorf("%v, %s", pipeline.KindOf(err), m.Sent.Header("WWW-Authenticate"))
			}
			if _, err := without.over(tls, func(m *pipeline.Memory) { m.WithHost(c.host) }); err != nil {
				t.Errorf("a route without certificates: %v", err)
			}
		}
	}
	if _, err := with.over(nil, func(m *pipeline.Memory) { m.WithHost("b.test") }); err != nil {
		t.Errorf("without TLS: %v", err)
	}
}

func TestCertificateRowsAreChecked(t *testing.T) {
	for _, c := range []struct {
		rows []CertificateRow
		want string
	}{
		{[]CertificateRow{{ID: "a", URI: "spiffe://a.test/x"}, {ID: "b", URI: "spiffe://a.test/*"}, {ID: "c", DNS: "c.test"}, {ID: "d", Email: "d@c.test"}}, ""},
		{[]CertificateRow{{ID: "a", SHA256: OneOrMany{strings.Repeat("ab", 32)}}, {ID: "b", DNS: "b.test", SHA256: OneOrMany{strings.Repeat("AC:", 31) + "AC"}}}, ""},
		{nil, "client_certificates.p"}, {[]CertificateRow{{ID: "a"}}, "clients[0].uri"}, {[]CertificateRow{{ID: "a|b", DNS: "a.test"}}, "clients[0].id"},
		{[]CertificateRow{{ID: "a", DNS: "a.test"}, {ID: "a", DNS: "b.test"}}, "clients[1].id"}, {[]CertificateRow{{ID: "a", DNS: "*.a.test"}}, "clients[0].dns"},
		{[]CertificateRow{{ID: "a", URI: "spiffe://a.test*"}}, "clients[0].uri"}, {[]CertificateRow{{ID: "a", URI: "spiffe://*"}}, "clients[0].uri"},
		{[]CertificateRow{{ID: "a", URI: "*"}}, "clients[0].uri"}, {[]CertificateRow{{ID: "a", URI: "a.test/x"}}, "clients[0].uri"}, {[]CertificateRow{{ID: "a", URI: "spiffe://a.test/*/x"}}, "clients[0].uri"},
		{[]CertificateRow{{ID: "a", Email: "a.test"}}, "clients[0].email"}, {[]CertificateRow{{ID: "a", SHA256: OneOrMany{"abc"}}}, "clients[0].sha256"},
		{[]CertificateRow{{ID: "a", URI: "spiffe://a.test/*"}, {ID: "b", URI: "spiffe://a.test/x"}}, "clients[1]"},
		{[]CertificateRow{{ID: "a", DNS: "a.test"}, {ID: "b", DNS: "A.test", Email: "a@b.test"}}, "clients[1]"},
		{[]CertificateRow{{ID: "a", DNS: "a.test", Claims: map[string]string{"sub": "root"}}}, "claims.sub"}, {[]CertificateRow{{ID: "a", DNS: "a.test", Scopes: []string{"a b"}}}, "scopes[0]"},
	} {
		p := units.NewProblems()
		(&ClientCertificatesConfig{Clients: c.rows}).Validate(p.Key("client_certificates").Key("p"))
		found := p.List()
		if c.want == "" && len(found) > 0 || c.want != "" && (len(found) == 0 || !strings.Contains(found[0].Path, c.want)) {
			t.Errorf("%+v: %v, want %s", c.rows, found, c.want)
		}
	}
	for _, lists := range []map[string]ClientCertificatesConfig{
		acmeList(CertificateRow{ID: "a"}), acmeList(CertificateRow{ID: "", DNS: "x"}), acmeList(CertificateRow{ID: "a", SHA256: OneOrMany{"x"}}),
		{"a|b": {Clients: []CertificateRow{{ID: "a", DNS: "a.test"}}}},
	} {
		if _, err := newCertLists(lists); err == nil {
			t.Errorf("%v was compiled", lists)
		}
	}
	if _, err := New(Config{Certificates: []string{"none"}}, ForwardConfig{}, listedAuthority(t, Deps{})); err == nil {
		t.Error("an unknown list")
	}
}

func TestCertificatesAllocateNothing(t *testing.T) {
	a := listedAuthority(t, Deps{Clients: acmeList(CertificateRow{ID: "x", URI: "spiffe://acme.test/*"}, CertificateRow{ID: "a", DNS: "a.test", Scopes: []string{"read"}})})
	r := newRoute(t, a, Config{Certificates: []string{"partners"}, Require: Require{Scopes: []string{"read"}}}, ForwardConfig{Claims: map[string]string{"X-Client": "sub"}})
	b, x := &bare{host: []byte("api.example.com")}, &pipeline.Exchange{}
	var answer pipeline.Response = bareAnswer{}
	for name, said := range map[string]*pipeline.TLS{"known": shown(t, "uri spiffe://b.test/x", "dns a.test"), "stranger": shown(t, "dns b.test"), "elsewhere": pipeline.NewTLS("b.test", nil)} {
		ask := func() error { x.Begin(b, answer, nil); x.TLS = said; return r.handler.Serve(context.Background(), x) }
		first := ask()
		if n := testing.AllocsPerRun(200, func() { _ = ask() }); n != 0 || (first == nil) != (name == "known") {
			t.Errorf("%s (%v): %v allocations", name, first, n)
		}
	}
}
