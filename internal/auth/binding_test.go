package auth

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/auth/dpop"
	"github.com/oncegate/oncegate/internal/auth/keyset"
	"github.com/oncegate/oncegate/internal/pipeline"
)

const (
	dpopPlain   = `DPoP realm="oncegate", algs="ES256 EdDSA PS256 RS256"`
	dpopToken   = dpopPlain + `, error="invalid_token"`
	dpopProof   = dpopPlain + `, error="invalid_dpop_proof"`
	dpopNonce   = dpopPlain + `, error="use_dpop_nonce"`
	dpopRequest = dpopPlain + `, error="invalid_request"`
)

func dpopIssuer() IssuerConfig {
	c := secretIssuer()
	c.DPoP = &dpop.Config{Base: "https://api.example.com"}
	return c
}

func thumbprint(key crypto.Signer) string {
	k, err := keyset.FromJWK(text(jwkOf(key, "")), keyset.Find("ES256"))
	if err != nil {
		panic(err)
	}
	sum := k.Thumbprint()
	return b64(sum[:])
}

// bound is a token of that key.
func bound(changes ...any) string {
	return hs(append([]any{"cnf", object{"jkt": thumbprint(testKeys().p256)}}, changes...)...)
}

var proofCount int

// proofOf is a good proof of that key for GET /orders and the token.
func proofOf(tok string, key crypto.Signer, changes ...any) string {
	proofCount++
	sum := sha256.Sum256([]byte(tok))
	body := object{"jti": proofCount, "htm": "GET", "htu": "https://api.example.com/orders", "iat": time.Now().Unix(), "ath": b64(sum[:])}
	body["jti"] = strings.Repeat("j", 10) + b64([]byte{byte(proofCount >> 8), byte(proofCount)})
	for i := 0; i < len(changes); i += 2 {
		body[changes[i].(string)] = changes[i+1]
	}
	return mint("ES256", key, object{"typ": "dpop+jwt", "alg": "ES256", "jwk": jwkOf(key, "")}, body)
}

// sends asks with these fields and this certificate.
func (r *route) sends(certificate []byte, fields ...string) (*pipeline.Memory, error) {
	m := pipeline.NewMemory("GET", "/orders?page=2")
	for i := 0; i < len(fields); i += 2 {
		m.WithHeader(fields[i], fields[i+1])
	}
	if certificate != nil {
		m.TLS = &pipeline.TLS{Certificate: &x509.Certificate{Raw: certificate}, Thumbprint: sha256.Sum256(certificate)}
	}
	return m, r.handler.Serve(context.Background(), &m.Exchange)
}

func (r *route) proves(t *testing.T, name, tok, proof string) *pipeline.Memory {
	t.Helper()
	m, err := r.sends(nil, "Authorization", "DPoP "+tok, "DPoP", proof)
	if err != nil || m.Client.Subject != "alice" {
		t.Errorf("%s: %v", name, err)
	}
	return m
}

// Case 54 and its reverse: no scheme stands in for another, for new tokens and for those seen before.
func TestCase54NoDowngrade(t *testing.T) {
	r := single(t, dpopIssuer())
	key := testKeys().p256
	tok, free := bound(), hs("jti", "free")
	for _, name := range []string{"new", "seen before"} {
		m, err := r.ask("Bearer " + tok)
		turnedAway(t, name, m, err, NotTheHolder, dpopToken)
		m, err = r.sends(nil, "Authorization", "Bearer "+tok, "DPoP", proofOf(tok, key))
		turnedAway(t, name+", bearer with a proof", m, err, NotTheHolder, dpopToken)
		m, err = r.sends(nil, "Authorization", "DPoP "+free, "DPoP", proofOf(free, key))
		turnedAway(t, name+", unbound with a proof", m, err, Unbound, dpopToken)
		r.proves(t, name, tok, proofOf(tok, key))
		r.passes(t, name, free)
	}
	for _, scheme := range []string{"dpop ", "DPOP  ", "DPoP "} {
		if _, err := r.sends(nil, "Authorization", scheme+tok, "dPoP", proofOf(tok, key)); err != nil {
			t.Errorf("%q: %v", scheme, err)
		}
	}
	m, err := r.ask("DPoP x.y.z")
	turnedAway(t, "a bad token", m, err, Malformed, dpopToken)
	m, err = r.ask("DPoP")
	turnedAway(t, "nothing", m, err, BadCredential, dpopRequest)
	m, err = r.ask("")
	turnedAway(t, "no credential", m, err, NoCredential, plain, dpopPlain)
	m, err = r.ask("Basic YTpi")
	turnedAway(t, "another scheme", m, err, OtherScheme, plain, dpopPlain)
	m, err = r.ask("DPoPx " + tok)
	turnedAway(t, "no scheme", m, err, OtherScheme, plain, dpopPlain)
	without := single(t, secretIssuer())
	without.refused(t, "an issuer without dpop", tok, SenderConstrained)
	m, err = without.sends(nil, "Authorization", "DPoP "+tok, "DPoP", proofOf(tok, key))
	turnedAway(t, "its scheme", m, err, OtherScheme, plain)
}

// Cases 55 and 56 as a client sees them; what makes a proof good is tested in package dpop.
func TestCase55Proofs(t *testing.T) {
	r := single(t, dpopIssuer())
	key, tok := testKeys().p256, bound()
	m, err := r.ask("DPoP " + tok)
	turnedAway(t, "no proof", m, err, NoProof, dpopProof)
	one := proofOf(tok, key)
	m, err = r.sends(nil, "Authorization", "DPoP "+tok, "DPoP", one, "dpop", proofOf(tok, key))
	turnedAway(t, "two proofs", m, err, NoProof, dpopProof)
	for name, c := range map[string]struct {
		proof string
		want  Reason
	}{
		"empty": {"", ProofMalformed}, "another key": {proofOf(tok, testKeys().p256b), ProofKey}, "method": {proofOf(tok, key, "htm", "POST"), ProofRequest}, "host": {proofOf(tok, key, "htu", "https://other.example.com/orders"), ProofRequest},
		"token": {proofOf("another", key), ProofToken}, "time": {proofOf(tok, key, "iat", 5), ProofTime}, "signature": {one[:len(one)-8] + "AAAAAAAA", ProofSignature},
	} {
		m, err := r.sends(nil, "Authorization", "DPoP "+tok, "DPoP", c.proof)
		turnedAway(t, name, m, err, c.want, dpopProof)
	}
	r.proves(t, "the first of the two was not used up", tok, one)
	m, err = r.sends(nil, "Authorization", "DPoP "+tok, "DPoP", one)
	turnedAway(t, "again", m, err, ProofReplayed, dpopProof)
	second := bound("jti", "second")
	m, err = r.sends(nil, "Authorization", "DPoP "+second, "DPoP", proofOf(tok, key))
	turnedAway(t, "for another token of the same key", m, err, ProofToken, dpopProof)
	m, err = r.sends(nil, "Authorization", "DPoP "+bound("exp", 5), "DPoP", proofOf(bound("exp", 5), key))
	turnedAway(t, "an expired token", m, err, Expired, dpopToken)
}

type downReplays struct{}

func (downReplays) First(context.Context, dpop.Proof) (bool, error) { return false, errors.New("down") }

// Case 57: nonces; and a store that can't be asked is 503.
func TestCase57Nonces(t *testing.T) {
	cfg := dpopIssuer()
	cfg.DPoP.Nonce = true
	r := single(t, cfg)
	key, tok := testKeys().p256, bound()
	m, err := r.sends(nil, "Authorization", "DPoP "+tok, "DPoP", proofOf(tok, key))
	turnedAway(t, "no nonce", m, err, ProofNonce, dpopNonce)
	nonce := string(m.Sent.Header("DPoP-Nonce"))
	if nonce == "" || !err.(Reason).Harmless() || NoProof.Harmless() {
		t.Error("no nonce is told")
	}
	m, err = r.sends(nil, "Authorization", "DPoP "+tok, "DPoP", proofOf(tok, key, "nonce", "x"))
	turnedAway(t, "an old nonce", m, err, ProofNonce, dpopNonce)
	m = r.proves(t, "with it", tok, proofOf(tok, key, "nonce", nonce))
	if got := m.Sent.Header("DPoP-Nonce"); got != nil && string(got) == nonce {
		t.Errorf("nonce %q is told again", got)
	}
	a, err := NewAuthority(map[string]IssuerConfig{"main": dpopIssuer()}, nil, Deps{Replays: downReplays{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	m, err = newRoute(t, a, Config{Issuers: []string{"main"}}, ForwardConfig{}).sends(nil, "Authorization", "DPoP "+tok, "DPoP", proofOf(tok, key))
	if err != NoReplays || pipeline.KindOf(err) != pipeline.AuthUnavailable || m.Problem.RetryAfter != 1 || m.Sent.Header("WWW-Authenticate") != nil {
		t.Errorf("store down: %v", err)
	}
}

// A nonce of the window before is taken, and the answer tells the next one and is not to be stored.
func TestNextNonceIsTold(t *testing.T) {
	cfg := dpopIssuer()
	cfg.DPoP.Nonce = true
	a := authority(t, map[string]IssuerConfig{"main": cfg})
	r := newRoute(t, a, Config{Issuers: []string{"main"}}, ForwardConfig{})
	tok, now := bound(), time.Now()
	before := a.proofs.Nonces.Current(time.Minute, now.Add(-time.Minute))
	m := r.proves(t, "the one before", tok, proofOf(tok, testKeys().p256, "nonce", before))
	if next := string(m.Sent.Header("DPoP-Nonce")); next == "" || next == before || string(m.Sent.Header("Cache-Control")) != "no-store" {
		t.Errorf("next nonce %q", next)
	}
}

func TestRequiredProofs(t *testing.T) {
	cfg := dpopIssuer()
	cfg.DPoP.Required = true
	other := secretIssuer()
	other.Issuer = "https://b.test/"
	a := authority(t, map[string]IssuerConfig{"main": cfg, "b": other})
	r := newRoute(t, a, Config{Issuers: []string{"main"}, Optional: true, Require: Require{Scopes: []string{"read"}, ACR: []string{"mfa"}}}, ForwardConfig{})
	key := testKeys().p256
	for _, name := range []string{"new", "seen before"} {
		m, err := r.ask("Bearer " + hs())
		turnedAway(t, name, m, err, Unbound, dpopToken)
	}
	m, err := r.ask("Bearer x")
	turnedAway(t, "malformed", m, err, Malformed, dpopToken)
	m, err = r.ask("Basic x")
	turnedAway(t, "no bearer here", m, err, OtherScheme, dpopPlain)
	weak := bound("acr", "pwd")
	m, err = r.sends(nil, "Authorization", "DPoP "+weak, "DPoP", proofOf(weak, key))
	turnedAway(t, "login", m, err, WeakLogin, dpopPlain+`, error="insufficient_user_authentication", acr_values="mfa", scope="read"`)
	poor := bound("acr", "mfa", "scope", "x")
	m, err = r.sends(nil, "Authorization", "DPoP "+poor, "DPoP", proofOf(poor, key))
	turnedAway(t, "scope", m, err, MissingScope, dpopPlain+`, error="insufficient_scope", scope="read"`)
	both := newRoute(t, a, Config{Issuers: []string{"main", "b"}}, ForwardConfig{})
	both.passes(t, "the other issuer's tokens need none", hs("iss", "https://b.test/"))
	m, err = both.ask("")
	turnedAway(t, "nothing", m, err, NoCredential, plain, dpopPlain)
	lines := strings.Join(ExplainIssuers(Config{Issuers: []string{"main", "b"}}, map[string]IssuerConfig{"main": cfg, "b": other}), "\n")
	if !strings.Contains(lines, "https://api.example.com") || !strings.Contains(lines, "all have to be") || strings.Count(lines, "DPoP") != 1 {
		t.Error(lines)
	}
}

// Case 58: a token of a certificate is good on connections with that certificate, at every use.
func TestCase58Certificates(t *testing.T) {
	for name, r := range map[string]*route{"without dpop": single(t, secretIssuer()), "with dpop": single(t, dpopIssuer())} {
		mine, theirs := []byte("my certificate"), []byte("their certificate")
		sum := sha256.Sum256(mine)
		tok := hs("cnf", object{"x5t#S256": b64(sum[:])})
		for _, when := range []string{"new", "seen before", "again"} {
			m, err := r.sends(nil, "Authorization", "Bearer "+tok)
			turnedAway(t, name+", "+when+", no certificate", m, err, WrongCertificate, invalid)
			m, err = r.sends(theirs, "Authorization", "Bearer "+tok)
			turnedAway(t, name+", "+when+", another", m, err, WrongCertificate, invalid)
			if m, err = r.sends(mine, "Authorization", "Bearer "+tok); err != nil || m.Client.Subject != "alice" {
				t.Errorf("%s, %s: %v", name, when, err)
			}
		}
		if _, err := r.sends(theirs, "Authorization", "Bearer "+hs()); err != nil {
			t.Errorf("%s: an unbound token: %v", name, err)
		}
		zero := hs("cnf", object{"x5t#S256": b64(make([]byte, 32))})
		m := pipeline.NewMemory("GET", "/orders").WithHeader("Authorization", "Bearer "+zero)
		m.TLS = &pipeline.TLS{}
		err := r.handler.Serve(context.Background(), &m.Exchange)
		turnedAway(t, name+", zeros without a certificate", m, err, WrongCertificate, invalid)
	}
}

// Both bindings of one token have to hold.
func TestBothBindings(t *testing.T) {
	r := single(t, dpopIssuer())
	key, mine := testKeys().p256, []byte("my certificate")
	sum := sha256.Sum256(mine)
	tok := hs("cnf", object{"jkt": thumbprint(key), "x5t#S256": b64(sum[:])})
	for range 2 {
		m, err := r.sends(mine, "Authorization", "Bearer "+tok)
		turnedAway(t, "certificate alone", m, err, NotTheHolder, dpopToken)
		m, err = r.sends(nil, "Authorization", "DPoP "+tok, "DPoP", proofOf(tok, key))
		turnedAway(t, "proof alone", m, err, WrongCertificate, dpopToken)
		m, err = r.sends(mine, "Authorization", "DPoP "+tok, "DPoP", proofOf(tok, testKeys().p256b))
		turnedAway(t, "another's proof", m, err, ProofKey, dpopProof)
		if _, err := r.sends(mine, "Authorization", "DPoP "+tok, "DPoP", proofOf(tok, key)); err != nil {
			t.Errorf("both: %v", err)
		}
	}
}

// Case 59: a token that is bound in no known way, or not readably, is good for nobody.
func TestCase59UnknownBindings(t *testing.T) {
	r := single(t, dpopIssuer())
	jkt := thumbprint(testKeys().p256)
	for name, cnf := range map[string]any{
		"unknown": object{"new": "x"}, "jwk": object{"jwk": object{}}, "kid": object{"kid": "x"}, "empty": object{}, "text": jkt, "list": []string{jkt}, "number": 5, "true": true,
		"jkt short": object{"jkt": jkt[1:]}, "jkt padded": object{"jkt": jkt + "="}, "jkt number": object{"jkt": 5}, "jkt list": object{"jkt": []string{jkt}}, "jkt null": object{"jkt": nil, "x": jkt}, "jkt spare bits": object{"jkt": jkt[:42] + "_"},
		"certificate short": object{"x5t#S256": "x"}, "jkt beside a broken certificate": object{"jkt": jkt, "x5t#S256": "x"}, "SHA-1": object{"x5t": jkt}, "other case": object{"JKT": jkt},
	} {
		tok := hs("cnf", cnf)
		for _, when := range []string{"new", "seen before"} {
			r.refused(t, name+", "+when, tok, SenderConstrained)
		}
		m, err := r.sends([]byte("x"), "Authorization", "DPoP "+tok, "DPoP", proofOf(tok, testKeys().p256))
		turnedAway(t, name, m, err, SenderConstrained, dpopToken)
	}
	null := hs("cnf", nil)
	if m, err := r.ask("Bearer " + null); err != nil {
		t.Errorf("no cnf: %v %v", err, m.Client)
	}
	r.refused(t, "null", mint("HS256", []byte(testSecret), object{"alg": "HS256"}, strings.Replace(string(text(good())), `{`, `{"cnf":null,`, 1)), SenderConstrained)
	beside := hs("cnf", object{"jkt": jkt, "new": object{"jkt": "x"}})
	r.proves(t, "unknown beside a known one", beside, proofOf(beside, testKeys().p256))
}

// A reload keeps used proofs used, and a token that was taken without binding is judged by the new document.
func TestProofsOutliveReloads(t *testing.T) {
	first := authority(t, map[string]IssuerConfig{"main": dpopIssuer()})
	cfg := Config{Issuers: []string{"main"}}
	tok, free := bound(), hs()
	used := proofOf(tok, testKeys().p256)
	newRoute(t, first, cfg, ForwardConfig{}).proves(t, "first", tok, used)
	newRoute(t, first, cfg, ForwardConfig{}).passes(t, "unbound", free)
	changed := dpopIssuer()
	changed.DPoP.Required = true
	second, err := NewAuthority(map[string]IssuerConfig{"main": changed}, first, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Close)
	r := newRoute(t, second, cfg, ForwardConfig{})
	m, err := r.sends(nil, "Authorization", "DPoP "+tok, "DPoP", used)
	turnedAway(t, "used before the reload", m, err, ProofReplayed, dpopProof)
	m, err = r.ask("Bearer " + free)
	turnedAway(t, "unbound", m, err, Unbound, dpopToken)
}

// Tokens that need no proof cost no memory where others do, and neither does a certificate.
func TestBindingsAllocateNothing(t *testing.T) {
	r := single(t, dpopIssuer())
	mine := sha256.Sum256([]byte("my certificate"))
	shown := &pipeline.TLS{Certificate: &x509.Certificate{}, Thumbprint: mine}
	for name, c := range map[string]struct {
		tok  string
		want error
	}{"unbound": {hs(), nil}, "of a certificate": {hs("cnf", object{"x5t#S256": b64(mine[:])}), nil}, "of another": {hs("cnf", object{"x5t#S256": b64(make([]byte, 32))}), WrongCertificate}, "sent as bearer": {bound(), NotTheHolder}} {
		x := &pipeline.Exchange{}
		var request pipeline.Request = &bare{field: []byte("Bearer " + c.tok)}
		var answer pipeline.Response = bareAnswer{}
		ask := func() error {
			x.Begin(request, answer, nil)
			x.TLS = shown
			return r.handler.Serve(context.Background(), x)
		}
		if err := ask(); err != c.want {
			t.Errorf("%s: %v", name, err)
		}
		if n := testing.AllocsPerRun(200, func() { _ = ask() }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// Proofs that fail cost a signature check each, and a token that was stolen makes any number of them: an address is listened
// to for its share only. Tokens without proofs are not touched, and neither are other addresses.
func TestBadProofsAreCharged(t *testing.T) {
	a, err := NewAuthority(map[string]IssuerConfig{"main": dpopIssuer()}, nil, Deps{FailedShare: 0.0001})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	r := newRoute(t, a, Config{Issuers: []string{"main"}}, ForwardConfig{})
	tok, start := bound(), time.Now()
	from := func(address, tok, proof string) error {
		m := pipeline.NewMemory("GET", "/orders").WithHeader("Authorization", "DPoP "+tok).WithHeader("DPoP", proof)
		m.ClientIP, m.Start = netip.MustParseAddr(address), start
		return r.handler.Serve(context.Background(), &m.Exchange)
	}
	good := proofOf(tok, testKeys().p256)
	if err := from("192.0.2.1", tok, good); err != nil {
		t.Fatal(err)
	}
	judged := map[error]int{}
	for i := range 40 {
		judged[from("192.0.2.1", tok, []string{good, good[:len(good)-8] + "AAAAAAAA"}[i%2])]++
	}
	if n := judged[ProofReplayed] + judged[ProofSignature]; n < 10 || n > 11 || judged[TooManyFailures] != 40-n { // 10 s at 0.01 % are 1 ms
		t.Errorf("%v", judged)
	}
	if err := from("192.0.2.1", tok, proofOf(tok, testKeys().p256)); err != TooManyFailures {
		t.Errorf("a good proof of that address: %v", err)
	}
	if err := from("192.0.2.2", tok, proofOf(tok, testKeys().p256)); err != nil {
		t.Errorf("of another: %v", err)
	}
	m := pipeline.NewMemory("GET", "/orders").WithHeader("Authorization", "Bearer "+hs())
	m.ClientIP = netip.MustParseAddr("192.0.2.1")
	if err := r.handler.Serve(context.Background(), &m.Exchange); err != nil {
		t.Errorf("a token without a proof: %v", err)
	}
}
