package auth

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/auth/keyset"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// Cases of the list of negative tests that no other test holds in full.

// Case 4: a token in the field and another in the query.
func TestCase4TwoPlaces(t *testing.T) {
	r := single(t, secretIssuer())
	tok := hs()
	ask := func(query, field string) (*pipeline.Memory, error) {
		m := pipeline.NewMemory("GET", "/orders?"+query)
		if field != "" {
			m.WithHeader("Authorization", field)
		}
		return m, r.handler.Serve(context.Background(), &m.Exchange)
	}
	for _, query := range []string{"access_token=x", "a=b&access_token=" + tok, "access_token", "access%5Ftoken=x", "%61ccess_token=x&a", "&&access_token=x"} {
		m, err := ask(query, "Bearer "+tok)
		turnedAway(t, query, m, err, BadCredential, `Bearer realm="oncegate", error="invalid_request"`)
	}
	for _, query := range []string{"", "a=access_token", "Access_Token=x", "access_tokens=x", "xaccess_token=x", "%zzaccess_token=x", "a&b"} {
		if _, err := ask(query, "Bearer "+tok); err != nil {
			t.Errorf("%q: %v", query, err)
		}
	}
	m, err := ask("access_token="+tok, "")
	turnedAway(t, "in the query alone", m, err, NoCredential, plain)
}

// Case 8: an encrypted token is refused by its form; nothing is decrypted, unpacked or derived.
func TestCase8EncryptedTokens(t *testing.T) {
	r := single(t, secretIssuer())
	bomb := b64(bytes.Repeat([]byte{0}, 3000))
	inner := b64([]byte(hs()))
	for name, head := range map[string]object{
		"zip bomb": {"alg": "dir", "enc": "A128GCM", "zip": "DEF"}, "large p2c": {"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 2147483647, "p2s": "AAAA"},
		"unsigned inside": {"alg": "RSA-OAEP", "enc": "A128GCM", "cty": "JWT"},
	} {
		start := time.Now()
		r.refused(t, name, b64(text(head))+"."+inner+".AAAA."+bomb+".AAAA", Malformed)
		r.refused(t, name+" in three segments", b64(text(head))+"."+inner+".AAAA", Malformed)
		if took := time.Since(start); took > time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
}

// Case 11: dots without end cost nothing.
func TestCase11Dots(t *testing.T) {
	r := allocRoute(t)
	for _, n := range []int{maxToken, 1 << 20} {
		ask := r.bareExchange("Bearer " + strings.Repeat(".", n))
		if allocs := testing.AllocsPerRun(20, func() { _ = ask() }); allocs != 0 {
			t.Errorf("%d dots: %v allocations", n, allocs)
		}
	}
}

// Case 14 for elliptic curves: neither form of the public key is a secret.
func TestCase14CurveAsSecret(t *testing.T) {
	k := testKeys().p256
	point, err := k.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	r := single(t, fileIssuer([]string{"ES256"}, publicPEM(t, k)))
	for name, secret := range map[string][]byte{"point": point, "x and y": point[1:], "x": point[1:33], "JWK": text(jwkOf(k, ""))} {
		r.refused(t, name, mint("HS256", secret, object{"alg": "HS256"}, good()), WrongAlgorithm)
		signed := mint("HS256", secret, object{"alg": "ES256"}, good())
		r.refused(t, name+", alg lies", signed, BadSignature)
	}
}

// Case 22: a key id as long as a header field is never looked up.
func TestCase22LongKid(t *testing.T) {
	r := single(t, secretIssuer())
	for _, n := range []int{maxKid + 1, 700, 5 << 10, 10 << 10} {
		tok := mint("HS256", []byte(testSecret), object{"alg": "HS256", "kid": strings.Repeat("k", n)}, good())
		want := Malformed
		if len(tok) > maxToken {
			want = TooLong
		}
		r.refused(t, "kid", tok, want)
	}
	r.passes(t, "a long one", mint("HS256", []byte(testSecret), object{"alg": "HS256", "kid": strings.Repeat("k", maxKid)}, good()))
}

// Case 31: no single letter of a token can change.
func TestCase31EveryLetter(t *testing.T) {
	for name, r := range map[string]*route{"HS256": single(t, secretIssuer()), "ES256": single(t, fileIssuer([]string{"ES256"}, publicPEM(t, testKeys().p256)))} {
		tok := hs()
		if name == "ES256" {
			tok = mint("ES256", testKeys().p256, object{"alg": "ES256"}, good())
		}
		r.passes(t, name, tok)
		for at := range tok {
			changed := []byte(tok)
			if changed[at] == 'A' {
				changed[at] = 'B'
			} else {
				changed[at] = 'A'
			}
			if _, err := r.ask("Bearer " + string(changed)); pipeline.KindOf(err) != pipeline.Unauthenticated {
				t.Fatalf("%s, letter %d of %d changed: %v", name, at, len(tok), err)
			}
		}
		for cut := range tok {
			if _, err := r.ask("Bearer " + tok[:cut]); cut > 0 && pipeline.KindOf(err) != pipeline.Unauthenticated {
				t.Fatalf("%s, cut to %d: %v", name, cut, err)
			}
		}
	}
}

// Case 52: a login too weak or too long ago is 401 and says which is wanted; nothing else of the token is told.
func TestCase52StepUp(t *testing.T) {
	a := keyed(t, partners(keyRow("acme", "right")))
	now := time.Now().Unix()
	cfg := Config{Issuers: []string{"main"}, APIKeys: []string{"partners"}, Require: Require{ACR: []string{"mfa", "hw"}, MaxAge: units.Duration(5 * time.Minute)}}
	r := newRoute(t, a, cfg, ForwardConfig{})
	const wanted = `Bearer realm="oncegate", error="insufficient_user_authentication", acr_values="mfa hw", max_age="300"`
	for name, c := range map[string][]any{
		"nothing": nil, "acr alone": {"acr", "mfa"}, "auth_time alone": {"auth_time", now}, "weak": {"acr", "pwd", "auth_time", now}, "long ago": {"acr", "mfa", "auth_time", now - 302},
		"case": {"acr", "MFA", "auth_time", now}, "list": {"acr", []string{"mfa"}, "auth_time", now}, "time as text": {"acr", "mfa", "auth_time", "1"}, "zero": {"acr", "mfa", "auth_time", 0},
		"future": {"acr", "mfa", "auth_time", now + 300}, "both words": {"acr", "mfa hw", "auth_time", now}, "null": {"acr", nil, "auth_time", nil},
	} {
		m, err := r.ask("Bearer " + hs(c...))
		turnedAway(t, name, m, err, WeakLogin, wanted)
		if pipeline.KindOf(err) != pipeline.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, c := range [][]any{{"acr", "mfa", "auth_time", now - 290}, {"acr", "hw", "auth_time", now + 60}} {
		if _, err := r.ask("Bearer " + hs(c...)); err != nil {
			t.Errorf("%v: %v", c, err)
		}
	}
	m, err := r.send("X-Api-Key", "right")
	turnedAway(t, "a key", m, err, WeakLogin, keyPlain)
	for want, require := range map[string]Require{`, acr_values="mfa"`: {ACR: []string{"mfa"}}, `, max_age="1"`: {MaxAge: units.Duration(time.Second)}} {
		m, err := newRoute(t, a, Config{Issuers: []string{"main"}, Require: require}, ForwardConfig{}).ask("Bearer " + hs())
		turnedAway(t, want, m, err, WeakLogin, `Bearer realm="oncegate", error="insufficient_user_authentication"`+want)
	}
	if lines := strings.Join(Explain(cfg, ForwardConfig{}), "\n"); !strings.Contains(lines, "login of kind mfa or hw, login at most 5m ago, else 401") {
		t.Error(lines)
	}
}

// aged gives keys until they are too old.
type aged struct {
	set *keyset.Set
	err error
}

func (a *aged) Current(time.Time) (*keyset.Set, error) { return a.set, a.err }

// Case 62: keys beyond their age limit verify nothing, not even what they verified before; another issuer does not suffer.
func TestCase62StaleKeys(t *testing.T) {
	other := secretIssuer()
	other.Issuer = "https://b.test/"
	a := authority(t, map[string]IssuerConfig{"main": secretIssuer(), "b": other})
	keys := &aged{set: a.issuers["main"].local}
	a.issuers["main"].keys = keys
	both := newRoute(t, a, Config{Issuers: []string{"main", "b"}}, ForwardConfig{})
	tok, second := hs(), hs("iss", "https://b.test/")
	both.passes(t, "young", tok)
	keys.err = keyset.ErrStale
	for _, one := range []string{tok, hs("n", 1)} {
		m, err := both.ask("Bearer " + one)
		if err != NoKeys || pipeline.KindOf(err) != pipeline.AuthUnavailable || m.Problem.RetryAfter < 1 || m.Sent.Header("WWW-Authenticate") != nil || !m.Client.Anonymous() {
			t.Errorf("stale: %v", err)
		}
	}
	both.passes(t, "the other issuer", second)
	if a.Ready()["main"] == nil {
		t.Error("ready with stale keys")
	}
	keys.err = nil
	both.passes(t, "young again", tok)
}

// Case 74: what one route's rules took is judged anew by another's, cached or not.
func TestCase74OtherRules(t *testing.T) {
	a := authority(t, map[string]IssuerConfig{"main": secretIssuer()})
	tok := hs("scope", "read", "tenant", "a")
	newRoute(t, a, Config{Issuers: []string{"main"}}, ForwardConfig{}).passes(t, "no rules", tok)
	for name, c := range map[string]struct {
		require Require
		want    Reason
	}{
		"scope": {Require{Scopes: []string{"write"}}, MissingScope}, "any scope": {Require{AnyScope: []string{"write", "admin"}}, MissingScope},
		"claim": {Require{Claims: map[string]ClaimMatch{"tenant": {In: OneOrMany{"b"}}}}, MissingClaim}, "roles": {Require{Roles: &RoleRule{Claim: "roles", Any: []string{"x"}}}, MissingRole},
	} {
		if _, err := newRoute(t, a, Config{Issuers: []string{"main"}, Require: c.require}, ForwardConfig{}).ask("Bearer " + tok); err != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
