package auth

import (
	"crypto/sha256"
	"testing"

	"github.com/oncegate/oncegate/internal/auth/dpop"
)

// What an introspection answer says in cnf is demanded like a signed token's, for new tokens and for those seen before.
func TestIntrospectedTokensAreBound(t *testing.T) {
	s := newAsked(t)
	cfg := askingIssuer(s.URL)
	cfg.DPoP = &dpop.Config{Base: "https://api.example.com"}
	r := single(t, cfg)
	key, certificate := testKeys().p256, []byte("a certificate")
	sum := sha256.Sum256(certificate)
	s.says("opaque", active("cnf", object{"jkt": thumbprint(key)}))
	s.says("shown", active("cnf", object{"x5t#S256": b64(sum[:])}))
	for _, name := range []string{"new", "seen before"} {
		m, err := r.ask("Bearer opaque")
		turnedAway(t, name, m, err, NotTheHolder, dpopToken)
		m, err = r.sends(nil, "Authorization", "DPoP opaque", "DPoP", proofOf("opaque", testKeys().p256b))
		turnedAway(t, name+", another key", m, err, ProofKey, dpopProof)
		r.proves(t, name, "opaque", proofOf("opaque", key))
		if _, err := r.sends(nil, "Authorization", "Bearer shown"); err != WrongCertificate {
			t.Errorf("%s, no certificate: %v", name, err)
		}
		if _, err := r.sends(certificate, "Authorization", "Bearer shown"); err != nil {
			t.Errorf("%s, its certificate: %v", name, err)
		}
	}
}
