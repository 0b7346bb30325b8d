// Package dpop checks proofs of possession (RFC 9449): that whoever sends a token holds the key that it is bound to.
//
// It promises that a proof is taken once, for one method, one URI below the configured base, one token, and only near its
// iat; that its key is the one whose thumbprint (RFC 7638) the token names; and that everything cheap is looked at before
// the signature, the key's thumbprint above all: nobody brings a key of their own choosing to a signature check. Whatever
// is not understood is refused. It does not judge the token. When it can't be known whether a proof was used before
// (the memory is full, the store of a fleet does not answer), the proof is not taken: Unavailable.
package dpop

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/oncegate/oncegate/internal/auth/keyset"
)

// Verdict is what came of a proof. All that are neither Proven nor NonceWanted nor Unavailable are one to the client.
type Verdict uint8

// The verdicts.
const (
	Proven       Verdict = iota
	Malformed            // form, header, key or claims
	OtherKey             // the key is not the token's
	OtherRequest         // htm or htu
	OtherToken           // ath
	OtherTime            // iat, exp, nbf
	BadSignature         //
	NonceWanted          // all is well but the nonce: there is none, or not a current one
	Replayed             // jti was used before
	Unavailable          // nobody knows whether it was
)

// Checker judges proofs by an issuer's settings. It is immutable.
type Checker struct {
	base       base
	prefix     string // base as text: what nearly every htu begins with
	window     time.Duration
	nonce      bool
	algorithms []*keyset.Algorithm
	names      string // of the algorithms, as in a challenge
}

// New makes a checker; zero values of cfg are the usual ones.
func New(cfg Config) (*Checker, error) {
	b, err := parseBase(cfg.Base)
	if err != nil {
		return nil, fmt.Errorf("dpop.base: %w", err)
	}
	c := &Checker{base: b, prefix: b.String(), window: cfg.Window.Std(), nonce: cfg.Nonce}
	if c.window == 0 {
		c.window = usualWindow
	}
	names := cfg.Algorithms
	if len(names) == 0 {
		names = usualAlgorithms
	}
	for _, name := range names {
		algorithm := keyset.Find(name)
		if algorithm == nil || algorithm.Family == keyset.HMAC {
			return nil, fmt.Errorf("dpop.algorithms: %q proves nothing", name)
		}
		c.algorithms = append(c.algorithms, algorithm)
	}
	c.names = strings.Join(names, " ")
	return c, nil
}

// Algorithms are the names of what is accepted, separated by spaces.
func (c *Checker) Algorithms() string { return c.names }

// HolderCost is the bytes that a Holder takes at most.
const HolderCost = maxRemembered + 512

const maxRemembered = 1 << 10 // of a header

// Holder is the key that a token is bound to. It remembers the header of the last proof that was good, as a client writes the
// same one each time: at most HolderCost bytes.
type Holder struct {
	thumbprint [sha256.Size]byte
	last       atomic.Pointer[header]
}

// NewHolder reads cnf.jkt; false when it is no SHA-256 in base64url.
func NewHolder(jkt string) (*Holder, bool) {
	h := &Holder{}
	return h, Digest(h.thumbprint[:], jkt)
}

// Digest decodes a SHA-256 in base64url, in its one spelling, into dst of 32 bytes.
func Digest(dst []byte, text string) bool {
	if len(text) != base64.RawURLEncoding.EncodedLen(sha256.Size) || !legal([]byte(text)) {
		return false
	}
	n, err := strict.Decode(dst, []byte(text))
	return err == nil && n == sha256.Size
}

// Use is one request with a proof. Its bytes are borrowed.
type Use struct {
	Proof        []byte // the DPoP field
	Token        []byte // the token as it was sent
	Method, Path []byte // the path in its canonical form
	Owner        string // whose proofs share a part of the memory
	Now          time.Time
	Wait         time.Duration // for a store that the fleet shares
}

// Shared is what all issuers' proofs are judged with.
type Shared struct {
	Replays Replays
	Nonces  *Nonces
}

// Check judges a proof for a token that is bound to h and was found good. nonce is the one to be used from now on, when the
// client has none or an older one; "" else.
func (c *Checker) Check(s Shared, h *Holder, u *Use) (v Verdict, nonce string) {
	said, v := c.read(h, u)
	if v != Proven {
		return v, ""
	}
	if c.nonce {
		if nonce = s.Nonces.Current(c.window, u.Now); nonce == said.nonce {
			nonce = ""
		} else if !s.Nonces.good(said.nonce, c.window, u.Now) {
			return NonceWanted, nonce
		}
	}
	if v = c.first(s.Replays, h, said, u); v != Proven {
		nonce = ""
	}
	return v, nonce
}

// read gives what a proof says when all about it is right but perhaps its nonce and that it is new.
func (c *Checker) read(h *Holder, u *Use) (*claims, Verdict) {
	p, ok := split(u.Proof)
	if !ok {
		return nil, Malformed
	}
	head, v := c.header(h, p.header)
	if v != Proven {
		return nil, v
	}
	said, ok := readClaims(p.payload)
	if !ok {
		return nil, Malformed
	}
	if v := c.judge(said, u); v != Proven {
		return nil, v
	}
	signature, err := strict.AppendDecode(nil, p.signature)
	if err != nil {
		return nil, Malformed
	}
	if head.key.Verify(string(p.signed), signature) != nil {
		return nil, BadSignature
	}
	if len(head.segment) <= maxRemembered {
		h.last.Store(head)
	}
	return said, Proven
}

// first has the proof remembered for as long as its iat is taken.
func (c *Checker) first(r Replays, h *Holder, said *claims, u *Use) Verdict {
	ends := time.Unix(0, int64(said.iat*1e9)).Add(c.window)
	ctx, cancel := context.WithTimeout(context.Background(), u.Wait)
	defer cancel()
	fresh, err := r.First(ctx, Proof{ID: identity(&h.thumbprint, said.jti), Owner: u.Owner, Now: u.Now, Ends: ends})
	switch {
	case err != nil:
		return Unavailable
	case !fresh:
		return Replayed
	}
	return Proven
}

// identity is the name of a proof: which key, which jti. The thumbprint's length is fixed, so no two pairs give the same.
func identity(thumbprint *[sha256.Size]byte, jti string) (id ID) {
	sum := sha256.Sum256(append(thumbprint[:len(thumbprint):len(thumbprint)], jti...))
	copy(id[:], sum[:])
	return id
}

// judge looks at what a proof is for.
func (c *Checker) judge(said *claims, u *Use) Verdict {
	now := float64(u.Now.UnixNano()) / 1e9
	window := c.window.Seconds()
	var ath [43]byte
	sum := sha256.Sum256(u.Token)
	base64.RawURLEncoding.Encode(ath[:], sum[:])
	switch {
	case said.htm != string(u.Method) || !c.target(said.htu, u.Path):
		return OtherRequest
	case said.ath != string(ath[:]):
		return OtherToken
	case said.iat < now-window || said.iat > now+window:
		return OtherTime
	case said.exp != 0 && said.exp <= now || said.nbf > now+window:
		return OtherTime
	}
	return Proven
}
