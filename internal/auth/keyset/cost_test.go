package keyset

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"time"
)

// Dearer keys cost more: an ES384 check is a lever of twenty against an RS256 one.
func TestCost(t *testing.T) {
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	last := time.Duration(0)
	for _, row := range []struct {
		alg string
		key any
	}{{"RS256", testKeys().rsa.Public()}, {"EdDSA", testKeys().ed.Public()}, {"ES256", testKeys().p256.Public()}, {"ES384", testKeys().p384.Public()}, {"ES512", p521.Public()}} {
		k, err := newKey("", row.alg, row.key, []*Algorithm{Find(row.alg)})
		if err != nil {
			t.Fatal(err)
		}
		if k.Cost() <= last {
			t.Errorf("%s costs %s, after %s", row.alg, k.Cost(), last)
		}
		last = k.Cost()
	}
	if c := secretKeys([]byte("x"), []*Algorithm{Find("HS256")})[0].Cost(); c >= costRSA2048 {
		t.Errorf("HS256 costs %s", c)
	}
	for bytes, want := range map[int]time.Duration{256: 35, 384: 162, 512: 288, 1024: 1152} { // as 28, 153, 268 and 1043 were measured
		if got := costOfRSA(bytes); got != want*time.Microsecond {
			t.Errorf("RSA of %d bits costs %s", 8*bytes, got)
		}
	}
}
