// Package signing makes the tokens with which the gateway tells upstreams who asks: short-lived JWTs (RFC 7519) of its own,
// signed with Ed25519 (RFC 8037), in the form of access tokens (RFC 9068).
//
// It promises that a token names one upstream, lives at most as long as configured and, five seconds aside, no longer than
// what the client showed; that what is kept to be used again is bounded and belongs to exactly one client, audience and
// choice of claims; and that the public halves of all keys are published. It does not judge clients. It needs no store; a
// token that can't be made is an error, and the caller must not go on without.
package signing

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

const (
	maxToken  = 8 << 10         // what servers take in one field without being asked
	shortest  = 5 * time.Second // life of a token for a client whose own credential is about to end
	usualLife = time.Minute
	scheme    = "Bearer "
)

// The reasons why there is no token. They hold nothing of the client's.
var (
	ErrTooLong = fmt.Errorf("signing: the token would be longer than %d bytes", maxToken)
	ErrText    = errors.New("signing: a claim is not text that JSON can hold")
)

// Signer makes tokens with the first of its keys. It is for any number of goroutines.
type Signer struct {
	keys  []key
	jwks  []byte
	head  []byte // the first segment and its dot
	issue []byte // the payload's beginning
	life  time.Duration
	made  store
}

// Grant is what a token says. Its strings are only read.
type Grant struct {
	Audience string
	Subject  string
	ClientID string   // client_id of RFC 9068: the program that acts for the subject
	Issuer   string   // the issuer's name in the document, or the list's that knows the client
	Identity string   // unambiguous over all issuers and lists
	Scopes   []string // of the client
	Expires  float64  // Unix seconds at which the client's own credential ends; 0: it does not
	Names    []string // of claims to be copied
	Claims   Claims   // where they are
}

// Claims appends a claim as JSON; false when there is none.
type Claims interface {
	AppendJSON(dst []byte, name string) ([]byte, bool)
}

// New reads the keys. A signer that is as the document wants it, keys included, is taken over with what it has made. A nil cfg
// gives nil.
func New(cfg *Config, old *Signer) (*Signer, error) {
	if cfg == nil {
		return nil, nil
	}
	keys, err := readKeys(cfg.Keys)
	if err != nil {
		return nil, err
	}
	s := &Signer{keys: keys, jwks: jwks(keys), life: cfg.TTL.Std()}
	if s.life == 0 {
		s.life = usualLife
	}
	s.head = segment(nil, fmt.Appendf(nil, `{"alg":"EdDSA","typ":"at+jwt","kid":%q}`, keys[0].id))
	s.head = append(s.head, '.')
	if s.issue, err = jsontext.AppendQuote([]byte(`{"iss":`), cfg.Issuer); err != nil {
		return nil, ErrText
	}
	if old != nil && old.life == s.life && bytes.Equal(old.issue, s.issue) && slices.EqualFunc(old.keys, keys, key.same) {
		return old, nil
	}
	return s, nil
}

// JWKS is the set of public keys (RFC 7517).
func (s *Signer) JWKS() []byte { return s.jwks }

// scratch holds the buffer of one token.
type scratch struct{ payload, token []byte }

var scratches = sync.Pool{New: func() any { return &scratch{make([]byte, 0, 1024), make([]byte, 0, 2048)} }}

// Authorization gives "Bearer " and a token, one that was made before where there is one with enough life in it. The bytes are
// shared: nobody may write to them.
func (s *Signer) Authorization(g *Grant, now time.Time) ([]byte, error) {
	b := scratches.Get().(*scratch)
	defer scratches.Put(b)
	var ok bool
	if b.payload, ok = s.appendGrant(b.payload[:0], g); !ok {
		return nil, ErrText
	}
	id := name(b, g.Expires)
	if made := s.made.get(id, now); made != nil {
		return made, nil
	}
	life := s.lifeOf(g, now)
	signed, err := s.sign(b, now, life)
	if err != nil {
		return nil, err
	}
	s.made.put(id, signed, now, life/2)
	return signed, nil
}

// Token is the token alone, of what Authorization gave.
func Token(authorization []byte) []byte { return authorization[len(scheme):] }

// name is the identity of a token: all that it says apart from its times, and when the client's credential ends.
func name(b *scratch, expires float64) [sha256.Size]byte {
	n := len(b.payload)
	b.payload = strconv.AppendFloat(b.payload, expires, 'g', -1, 64)
	id := sha256.Sum256(b.payload)
	b.payload = b.payload[:n]
	return id
}

func (s *Signer) lifeOf(g *Grant, now time.Time) time.Duration {
	if g.Expires == 0 {
		return s.life
	}
	rest := time.Unix(int64(g.Expires), 0).Sub(now)
	return min(s.life, max(rest, shortest))
}

// appendGrant writes the payload without its times and its end.
func (s *Signer) appendGrant(dst []byte, g *Grant) (_ []byte, ok bool) {
	dst = append(dst, s.issue...)
	for _, member := range [...]struct{ name, text string }{
		{`,"aud":`, g.Audience}, {`,"sub":`, g.Subject}, {`,"client_id":`, g.ClientID},
		{`,"client_issuer":`, g.Issuer}, {`,"client_identity":`, g.Identity},
	} {
		var err error
		if dst, err = jsontext.AppendQuote(append(dst, member.name...), member.text); err != nil {
			return dst, false
		}
	}
	if len(g.Scopes) > 0 {
		if dst, ok = appendScope(append(dst, `,"scope":"`...), g.Scopes); !ok {
			return dst, false
		}
	}
	for _, name := range g.Names {
		begin := len(dst)
		var err error
		if dst, err = jsontext.AppendQuote(append(dst, ','), name); err != nil {
			return dst, false
		}
		if dst, ok = g.Claims.AppendJSON(append(dst, ':'), name); !ok {
			dst = dst[:begin]
		}
	}
	return dst, true
}

// appendScope appends scopes, with spaces between them, and the closing quote. A word with a space in it would become two
// scopes that nobody gave: it is left out.
func appendScope(dst []byte, words []string) ([]byte, bool) {
	first := true
	for _, word := range words {
		if word == "" || strings.IndexByte(word, ' ') >= 0 {
			continue
		}
		if !first {
			dst = append(dst, ' ')
		}
		first = false
		at := len(dst)
		var err error
		if dst, err = jsontext.AppendQuote(dst, word); err != nil {
			return dst, false
		}
		copy(dst[at:], dst[at+1:len(dst)-1]) // without its quotes
		dst = dst[:len(dst)-2]
	}
	return append(dst, '"'), true
}

// sign makes the token. Its bytes are its own.
func (s *Signer) sign(b *scratch, now time.Time, life time.Duration) ([]byte, error) {
	var random [16]byte
	rand.Read(random[:]) //nolint:errcheck // never fails: crypto/rand
	issued := now.Unix()
	b.payload = fmt.Appendf(b.payload, `,"iat":%d,"exp":%d,"jti":"%s"}`, issued, issued+int64(life/time.Second), base64.RawURLEncoding.EncodeToString(random[:]))
	b.token = append(append(b.token[:0], scheme...), s.head...)
	b.token = segment(b.token, b.payload)
	signature, err := jwt.SigningMethodEdDSA.Sign(string(b.token[len(scheme):]), s.keys[0].private)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	b.token = segment(append(b.token, '.'), signature)
	if len(b.token) > maxToken {
		return nil, ErrTooLong
	}
	return bytes.Clone(b.token), nil
}

func segment(dst, text []byte) []byte { return base64.RawURLEncoding.AppendEncode(dst, text) }
