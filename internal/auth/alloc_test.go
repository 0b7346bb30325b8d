package auth

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// bare is a request and an answer that allocate nothing themselves.
type bare struct {
	pipeline.Request
	field []byte
}

type bareAnswer struct{ pipeline.Response }

func (b *bare) Header(string) []byte  { return b.field }
func (bareAnswer) Set(string, []byte) {}

func (r *route) bareExchange(field string) func() error {
	b := &bare{}
	if field != "" {
		b.field = []byte(field)
	}
	x := &pipeline.Exchange{}
	var answer pipeline.Response = bareAnswer{}
	return func() error {
		x.Begin(b, answer, nil)
		return r.handler.Serve(context.Background(), x)
	}
}

func allocRoute(t testing.TB) *route {
	a := authority(t, map[string]IssuerConfig{"main": secretIssuer(), "b": func() IssuerConfig { c := secretIssuer(); c.Issuer = "b"; return c }()})
	return newRoute(t, a, Config{Issuers: []string{"b", "main"}, Require: Require{Scopes: []string{"read", "write"}, Claims: map[string]OneOrMany{"tenant": {"a"}}}},
		ForwardConfig{Claims: map[string]string{"X-User": "sub", "X-None": "none"}})
}

// What a flood of bad or repeated requests asks for costs no memory.
func TestNoAllocations(t *testing.T) {
	r := allocRoute(t)
	fine := hs("tenant", "a", "scope", "read write")
	for name, field := range map[string]string{
		"seen before": "Bearer " + fine, "missing": "", "empty": "Bearer", "other scheme": "Basic x", "oversize": "Bearer " + strings.Repeat("a", 9000),
		"malformed": "Bearer " + strings.Repeat("a.", 100), "scope": "Bearer " + hs("tenant", "a", "scope", "read"), "claim": "Bearer " + hs("tenant", "b"),
		"forged, again": "Bearer " + fine[:len(fine)-8] + "AAAAAAAA", "expired, again": "Bearer " + hs("exp", 5),
	} {
		ask := r.bareExchange(field)
		first := ask()
		if n := testing.AllocsPerRun(200, func() { _ = ask() }); n != 0 {
			t.Errorf("%s (%v): %v allocations", name, first, n)
		}
	}
	open := newRoute(t, nil, Config{None: true}, ForwardConfig{Claims: map[string]string{"X-User": "sub"}})
	ask := open.bareExchange("Bearer x")
	if n := testing.AllocsPerRun(200, func() { _ = ask() }); n != 0 {
		t.Errorf("none: %v", n)
	}
}

// typical is a token of ten claims.
func typical(alg string, key any, n int) string {
	return mint(alg, key, object{"alg": alg, "typ": "JWT", "kid": "key-1"}, good("scope", "read write orders:read", "tenant", "a", "email", "alice@example.com",
		"roles", []string{"admin", "editor", "viewer"}, "client_id", "web-frontend", "jti", n, "name", "Alice Liddell"))
}

func BenchmarkSeenBefore(b *testing.B) {
	r := allocRoute(b)
	ask := r.bareExchange("Bearer " + typical("HS256", []byte(testSecret), 1))
	if err := ask(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_ = ask()
	}
}

func BenchmarkSeenBeforeParallel(b *testing.B) {
	r := allocRoute(b)
	field := "Bearer " + typical("HS256", []byte(testSecret), 1)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ask := r.bareExchange(field)
		for pb.Next() {
			_ = ask()
		}
	})
}

func BenchmarkRefusals(b *testing.B) {
	r := allocRoute(b)
	for name, field := range map[string]string{"missing": "", "oversize": "Bearer " + strings.Repeat("a.", 8000), "malformed-1KiB": "Bearer " + strings.Repeat("a", 1024)} {
		b.Run(name, func(b *testing.B) {
			ask := r.bareExchange(field)
			b.ReportAllocs()
			for b.Loop() {
				_ = ask()
			}
		})
	}
}

// bareRSA times bare RSA verification of that token.
func bareRSA(tok string) time.Duration {
	k := testKeys().rsa
	dot := strings.LastIndex(tok, ".")
	sig, _ := strict.DecodeString(tok[dot+1:])
	const rounds = 300
	start := time.Now()
	for range rounds {
		sum := sha256.Sum256([]byte(tok[:dot]))
		_ = rsa.VerifyPKCS1v15(&k.PublicKey, crypto.SHA256, sum[:], sig)
	}
	return time.Since(start) / rounds
}

func BenchmarkNewRS256(b *testing.B) {
	tokens := make([][]byte, 64)
	for i := range tokens {
		tokens[i] = []byte(typical("RS256", testKeys().rsa, i))
	}
	benchmarkVerify(b, tokens, accepted)
}

func BenchmarkForgedRS256(b *testing.B) {
	tokens := make([][]byte, 64)
	for i := range tokens {
		tokens[i] = []byte(typical("RS256", testKeys().rsa2, i))
	}
	benchmarkVerify(b, tokens, BadSignature)
}

// benchmarkVerify never lets a token be remembered: the profile changes with every call.
func benchmarkVerify(b *testing.B, tokens [][]byte, want Reason) {
	a := authority(b, map[string]IssuerConfig{"main": fileIssuer([]string{"RS256"}, publicPEM(b, testKeys().rsa))})
	i := a.issuers["main"]
	trusted := []*issuer{i}
	now := time.Now()
	single := bareRSA(typical("RS256", testKeys().rsa, 0))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		i.profile++
		if v := a.verify(trusted, tokens[n%len(tokens)], now, 0); v.reason != want {
			b.Fatal(v.reason)
		}
		n++
	}
	each := b.Elapsed() / time.Duration(b.N)
	b.ReportMetric(float64(each)/float64(single), "x-bare-rsa")
	b.ReportMetric(float64((each-single).Nanoseconds())/1000, "us-over-rsa")
}
