package dpop

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
	"time"
)

// BenchmarkCheck is what a proof costs beside its token: with its header seen before, and new; us-bare is a bare check of such
// a signature.
func BenchmarkCheck(b *testing.B) {
	proofs := make([]string, 512)
	for i := range proofs {
		proofs[i] = proof("iat", time.Now().Unix())
	}
	for name, known := range map[string]bool{"header-seen": true, "header-new": false} {
		b.Run(name, func(b *testing.B) {
			d := newDesk(b, Config{Nonce: false}, "ES256")
			i, fastest := 0, time.Hour
			b.ReportAllocs()
			for b.Loop() {
				if i%len(proofs) == 0 {
					d.shared.Replays = NewMemory(0)
				}
				if !known {
					d.holder.last.Store(nil)
				}
				at := time.Now()
				if v, _ := d.asks(proofs[i%len(proofs)], at); v != Proven {
					b.Fatal(v)
				}
				fastest = min(fastest, time.Since(at))
				i++
			}
			b.ReportMetric(float64(fastest.Nanoseconds())/1000, "us-fastest")
			b.ReportMetric(float64(bareVerify(proofs[0]).Nanoseconds())/1000, "us-bare")
		})
	}
}

// bareVerify is the fastest of some checks of a signature and nothing else.
func bareVerify(proof string) time.Duration {
	dot := strings.LastIndexByte(proof, '.')
	signature, _ := base64.RawURLEncoding.DecodeString(proof[dot+1:])
	public := testKeys()["ES256"].Public().(*ecdsa.PublicKey)
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	der, _ := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	fastest := time.Hour
	for range 500 {
		at := time.Now()
		sum := sha256.Sum256([]byte(proof[:dot]))
		ecdsa.VerifyASN1(public, sum[:], der)
		fastest = min(fastest, time.Since(at))
	}
	return fastest
}

// BenchmarkRefused is a proof whose key is another's: no signature is checked.
func BenchmarkRefused(b *testing.B) {
	d := newDesk(b, Config{}, "other")
	p, at := proof("iat", time.Now().Unix()), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if v, _ := d.asks(p, at); v != OtherKey {
			b.Fatal(v)
		}
	}
}
