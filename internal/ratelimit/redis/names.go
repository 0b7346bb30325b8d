package redis

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"sync/atomic"

	"github.com/oncegate/oncegate/internal/ratelimit"
	"github.com/oncegate/oncegate/internal/ratelimit/leases"
)

// version stands in every name, so that gateways which store otherwise never meet on one.
const version = ":rl1:"

// The kinds of names.
const (
	bucketKind  = 'b'
	windowKind  = 'w'
	rollingKind = 'r'
	seatsKind   = 's'
)

// names are those in Redis.
type names struct{ stem string }

func (n names) secret() string { return n.stem + "secret" }
func (n names) alive() string  { return n.stem + "alive" }

// probe is in the slot of the key.
func (n names) probe(key string) string { return n.stem + "p:{" + key + "}" }

func (n names) of(kind byte, name leases.Name) string {
	key := make([]byte, 0, 96)
	key = append(append(key, n.stem...), kind, ':')
	return string(base64.RawURLEncoding.AppendEncode(key, name[:]))
}

// kindOf is under what kind of name a limit counts.
func kindOf(l *ratelimit.Limit) byte {
	switch {
	case l.Kind() == ratelimit.Slots:
		return seatsKind
	case l.Kind() == ratelimit.Bucket:
		return bucketKind
	case l.Quota().Rolling:
		return rollingKind
	}
	return windowKind
}

// secret is what the whole fleet makes names with, so that nobody who reads Redis learns of keys, or aims at another's name.
type secret struct {
	proposal [32]byte
	held     atomic.Pointer[pads] // nil: never read
}

// pads are the secret as HMAC needs it (RFC 2104).
type pads struct {
	text         string
	inner, outer [sha256.BlockSize]byte
}

func newPads(text string) *pads {
	p := &pads{text: text}
	copy(p.inner[:], text)
	p.outer = p.inner
	for i := range p.inner {
		p.inner[i] ^= 0x36
		p.outer[i] ^= 0x5c
	}
	return p
}

// name is HMAC-SHA-256 of the key, cut to 128 bits. It does not allocate for keys of usual length.
func (p *pads) name(key []byte) leases.Name {
	var room [sha256.BlockSize + 192]byte
	inner := sha256.Sum256(append(append(room[:0], p.inner[:]...), key...))
	sum := sha256.Sum256(append(append(room[:0], p.outer[:]...), inner[:]...))
	return leases.Name(sum[:16])
}

// Name gives a key's name; false while the fleet's secret was never read.
func (s *Source) Name(key []byte) (leases.Name, bool) {
	held := s.secret.held.Load()
	if held == nil {
		return leases.Name{}, false
	}
	return held.name(key), true
}

// agree makes sure that Redis holds the secret that we use, or that we use the one that it holds. After it lost its data whoever
// comes first gives it back, so names stay.
func (s *Source) agree(ctx context.Context) error {
	proposal := string(s.secret.proposal[:])
	held := s.secret.held.Load()
	if held != nil {
		proposal = held.text
	}
	value, err := s.ask(ctx, secretScript, s.names.secret(), proposal)
	if err != nil {
		return err
	}
	text, ok := value.(string)
	if !ok || len(text) != len(s.secret.proposal) {
		return fatal("%s is not a secret of this gateway: set prefix to one that nobody else uses", s.names.secret())
	}
	if held != nil && held.text == text {
		return nil
	}
	if held != nil {
		s.log.Warn("redis lost its data, and another gateway gave it a new secret first: all shared limits begin anew")
	}
	s.secret.held.Store(newPads(text))
	return nil
}

func errStrange(what string, value any) error {
	return fmt.Errorf("redis: %s answers with %T of an unknown form", what, value)
}
