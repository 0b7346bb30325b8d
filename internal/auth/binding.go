package auth

import (
	"crypto/sha256"

	"github.com/oncegate/oncegate/internal/auth/dpop"
	"github.com/oncegate/oncegate/internal/pipeline"

	"github.com/go-json-experiment/json/jsontext"
)

// binding is what the holder of a token has to show at every use (cnf, RFC 7800): all that is not nil.
type binding struct {
	key         *dpop.Holder       // jkt: a proof of this key (RFC 9449, 6)
	certificate *[sha256.Size]byte // x5t#S256: this client certificate (RFC 8705, 3.1)
}

// cost is the bytes that a binding takes in the cache.
func (b *binding) cost() int {
	switch {
	case b == nil:
		return 0
	case b.key == nil:
		return 2 * sha256.Size
	}
	return 2*sha256.Size + dpop.HolderCost
}

// binding reads cnf; nil when there is none. A token that is bound to what can't be checked here is good for nobody: false.
// Members beside those that are understood count for nothing (RFC 7800, 3.1).
func (i *issuer) binding(c *claims) (*binding, bool) {
	m := c.find("cnf")
	if m == nil {
		return nil, true
	}
	if m.kind != jsontext.KindBeginObject {
		return nil, false
	}
	b := &binding{}
	for at := range m.inside {
		one, ok := &m.inside[at], true
		switch one.name {
		case "jkt":
			b.key, ok = dpop.NewHolder(one.text)
			ok = ok && one.kind == jsontext.KindString && i.cfg.DPoP != nil
		case "x5t#S256":
			b.certificate = &[sha256.Size]byte{}
			ok = dpop.Digest(b.certificate[:], one.text) && one.kind == jsontext.KindString
		}
		if !ok {
			return nil, false
		}
	}
	return b, b.key != nil || b.certificate != nil
}

// mustProve reports that the issuer's tokens are good with a proof only.
func (i *issuer) mustProve() bool { return i.cfg.DPoP != nil && i.cfg.DPoP.Required }

// held judges whether a good token was sent by whom it is bound to. It is asked at every use, for tokens from the cache as for
// new ones, and says in who what became of it and whose challenge a refusal carries.
func (g *gate) held(x *pipeline.Exchange, token []byte, v *verified, who *identified) {
	b := v.entry.bound
	bound := b != nil && b.key != nil
	switch {
	case bound && who.scheme != dpopScheme:
		who.reason, who.scheme = NotTheHolder, dpopScheme
	case !bound && (who.scheme == dpopScheme || v.issuer.mustProve()):
		who.reason, who.scheme = Unbound, dpopScheme
	case b != nil && b.certificate != nil && !shows(x.TLS, b.certificate):
		who.reason = WrongCertificate
	case bound:
		g.proven(x, token, v, who)
	}
}

// binds reports that held has something to judge: never, for nearly all tokens.
func (v *verified) binds(as scheme) bool {
	return v.entry.bound != nil || as == dpopScheme || v.issuer.mustProve()
}

func shows(t *pipeline.TLS, certificate *[sha256.Size]byte) bool {
	return t != nil && t.Certificate != nil && t.Thumbprint == *certificate
}
