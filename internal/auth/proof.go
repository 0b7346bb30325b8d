package auth

import (
	"bytes"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/auth/dpop"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

const (
	proofField = "dpop"
	nonceField = "DPoP-Nonce"
	proofWait  = 500 * time.Millisecond // for the store of used proofs
)

// keepProofs decides where used proofs are remembered. What this process remembers outlives a reload.
func (a *Authority) keepProofs(deps Deps) {
	a.proofs = dpop.Shared{Replays: deps.Replays, Nonces: deps.Nonces}
	if a.proofs.Replays == nil {
		a.proofs.Replays = a.shared.replays
	}
	if a.proofs.Nonces == nil {
		a.proofs.Nonces = a.shared.nonces
	}
}

var verdicts = [...]Reason{
	dpop.Proven: accepted, dpop.Malformed: ProofMalformed, dpop.OtherKey: ProofKey, dpop.OtherRequest: ProofRequest,
	dpop.OtherToken: ProofToken, dpop.OtherTime: ProofTime, dpop.BadSignature: ProofSignature,
	dpop.NonceWanted: ProofNonce, dpop.Replayed: ProofReplayed, dpop.Unavailable: NoReplays,
}

// proven has the one DPoP field checked.
func (g *gate) proven(x *pipeline.Exchange, token []byte, v *verified, who *identified) {
	proof, n := sole(x.Request, proofField)
	if n != 1 {
		who.reason = NoProof
		return
	}
	now := x.Start
	if now.IsZero() {
		now = time.Now()
	}
	by := asker{now: now, from: x.ClientIP, on: onProofs}
	if who.after = g.authority.overspent(&by); who.after > 0 {
		who.reason = TooManyFailures
		return
	}
	by.wait, _ = x.Remaining(now, proofWait)
	verdict, nonce := v.issuer.proofs.Check(g.authority.proofs, v.entry.bound.key, &dpop.Use{
		Proof: proof, Token: token, Method: x.Request.Method(), Path: x.Request.Path(),
		Owner: v.entry.client.Identity, Now: now, Wait: by.wait,
	})
	who.reason, who.nonce = verdicts[verdict], nonce
	if who.reason > NoProof && who.reason <= ProofReplayed {
		g.authority.charge(&by, proofCost)
	}
}

// sole gives the first field of a name, in lower case, and how many there are.
func sole(r pipeline.Request, lower string) (value []byte, n int) {
	for i := range r.Fields() {
		name, text := r.Field(i)
		if len(name) == len(lower) && wire.EqualFold(name, lower) {
			if n++; n == 1 {
				value = text
			}
		}
	}
	return value, n
}

// proofs are the challenges of a route whose issuers have proofs (RFC 9449, 7.1).
type proofs struct {
	plain, request, token, proof, nonce, scope []byte
	only                                       bool // no issuer takes tokens without
}

// newProofs is nil when no issuer has proofs. All that is accepted somewhere is named: which issuer a client's token is from
// shows only when it has one.
func newProofs(trusted []*issuer) *proofs {
	var names []string
	p := &proofs{only: true}
	for _, i := range trusted {
		p.only = p.only && i.mustProve()
		if i.proofs != nil {
			names = append(names, strings.Fields(i.proofs.Algorithms())...)
		}
	}
	if names == nil {
		return nil
	}
	seen := map[string]bool{}
	var algs []string
	for _, name := range names {
		if !seen[name] {
			algs = append(algs, name)
		}
		seen[name] = true
	}
	plain := `DPoP realm="oncegate", algs="` + strings.Join(algs, " ") + `"`
	with := func(word string) []byte { return []byte(plain + `, error="` + word + `"`) }
	p.plain, p.request, p.token = []byte(plain), with("invalid_request"), with("invalid_token")
	p.proof, p.nonce, p.scope = with("invalid_dpop_proof"), with("use_dpop_nonce"), with("insufficient_scope")
	return p
}

// stands reports that a refusal of this scheme carries the challenge of proofs.
func (p *proofs) stands(s scheme) bool {
	return s == dpopScheme || p != nil && p.only && (s == bearerScheme || s == noScheme)
}

// challenge says what to do, and of what was wrong no more than token, proof or nonce.
func (p *proofs) challenge(reason Reason) []byte {
	switch {
	case reason == BadCredential:
		return p.request
	case reason.Kind() == pipeline.Forbidden:
		return p.scope
	case reason == ProofNonce:
		return p.nonce
	case reason >= NoProof && reason <= ProofReplayed:
		return p.proof
	}
	return p.token
}

// wants is a challenge of bearer tokens that says what is wanted (RFC 6750, 3.1; RFC 9470, 3), for tokens with proofs.
func (p *proofs) wants(challenge []byte) []byte {
	return append(p.plain[:len(p.plain):len(p.plain)], bytes.TrimPrefix(challenge, challengePlain)...)
}

// tellNonce gives the client the nonce of its next proof. An answer that holds one is not to be stored (RFC 9449, 8.2).
func tellNonce(x *pipeline.Exchange, nonce string) {
	x.Response.Set(nonceField, []byte(nonce))
	x.Response.Set("Cache-Control", noStore)
}
