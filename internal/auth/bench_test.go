package auth

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"math"
	"strings"
	"testing"
	"time"
)

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
	reportFastest(b, ask)
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
			reportFastest(b, ask)
		})
	}
}

func BenchmarkAPIKey(b *testing.B) {
	r := allocKeyRoute(b)
	for name, key := range map[string]string{"good": "right", "unknown": "wrong"} {
		b.Run(name, func(b *testing.B) {
			ask := r.keyExchange(key)
			b.ReportAllocs()
			for b.Loop() {
				_ = ask()
			}
			reportFastest(b, ask)
		})
	}
}

// BenchmarkRules is a token seen before on a route with revocation, a scope, a role, a prefix and a list.
func BenchmarkRules(b *testing.B) {
	a := authority(b, map[string]IssuerConfig{"main": revocable()})
	ask := newRoute(b, a, Config{Issuers: []string{"main"}, Require: ruleful}, ForwardConfig{}).bareExchange("Bearer " + hs(rulefulClaims...))
	b.ReportAllocs()
	for b.Loop() {
		_ = ask()
	}
	reportFastest(b, ask)
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

// bareRSA checks the signature of that token and nothing else.
func bareRSA(tok string) func() {
	k := testKeys().rsa
	dot := strings.LastIndex(tok, ".")
	sig, _ := strict.DecodeString(tok[dot+1:])
	return func() {
		sum := sha256.Sum256([]byte(tok[:dot]))
		_ = rsa.VerifyPKCS1v15(&k.PublicKey, crypto.SHA256, sum[:], sig)
	}
}

// benchmarkVerify never lets a token be remembered: the profile changes with every call. Bare checks run in between; of both
// the fastest batch counts, as a loaded machine only ever adds.
func benchmarkVerify(b *testing.B, tokens [][]byte, want Reason) {
	a := authority(b, map[string]IssuerConfig{"main": fileIssuer([]string{"RS256"}, publicPEM(b, testKeys().rsa))})
	i := a.issuers["main"]
	trusted := []*issuer{i}
	now := time.Now()
	bare := bareRSA(typical("RS256", testKeys().rsa, 0))
	a.verify(trusted, []byte(typical("RS256", testKeys().rsa, 0)), &asker{now: now}) // an issuer's header has been seen
	ours, single := time.Duration(math.MaxInt64), time.Duration(math.MaxInt64)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		i.profile++
		if n%len(tokens) == 0 {
			b.StopTimer()
			single = min(single, batch(len(tokens), bare))
			ours = min(ours, batch(len(tokens), func() {
				i.profile++
				n++
				a.verify(trusted, tokens[n%len(tokens)], &asker{now: now})
			}))
			b.StartTimer()
		}
		if v := a.verify(trusted, tokens[n%len(tokens)], &asker{now: now}); v.reason != want {
			b.Fatal(v.reason)
		}
		n++
	}
	b.ReportMetric(float64(ours)/float64(single), "x-bare-rsa")
	b.ReportMetric(float64((ours-single).Nanoseconds())/float64(len(tokens))/1000, "us-over-rsa")
	b.ReportMetric(float64(single.Nanoseconds())/float64(len(tokens))/1000, "us-bare-rsa")
}

// reportFastest times batches of requests, and of bare signature checks in between.
func reportFastest(b *testing.B, ask func() error) {
	const calls, checks = 1000, 30
	bare := bareRSA(typical("RS256", testKeys().rsa, 0))
	ours, single := time.Duration(math.MaxInt64), time.Duration(math.MaxInt64)
	for range 40 {
		ours = min(ours, batch(calls, func() { _ = ask() }))
		single = min(single, batch(checks, bare))
	}
	b.ReportMetric(float64(ours.Nanoseconds())/calls, "ns-fastest")
	b.ReportMetric(float64(ours)/calls/(float64(single)/checks), "x-bare-rsa")
}

// batch times n calls.
func batch(n int, f func()) time.Duration {
	start := time.Now()
	for range n {
		f()
	}
	return time.Since(start)
}
