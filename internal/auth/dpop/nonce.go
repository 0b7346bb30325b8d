package dpop

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// Nonces are made from a key and the time, so that nobody has to remember them: whoever has the key takes what another made.
// A nonce is current for a window and is taken for one more.
type Nonces struct{ keys [][]byte }

const nonceSize = 16 // bytes of a nonce

// NewNonces derives its keys from secrets: the first makes nonces, those of all are taken. Without a secret the key is random,
// and the nonces are this process's own.
func NewNonces(secrets ...[]byte) *Nonces {
	n := &Nonces{}
	for _, secret := range secrets {
		key, err := hkdf.Key(sha256.New, secret, nil, "oncegate dpop nonce", sha256.Size)
		if err == nil { // only a length that is too large is an error
			n.keys = append(n.keys, key)
		}
	}
	if len(n.keys) == 0 {
		key := make([]byte, sha256.Size)
		_, _ = rand.Read(key) // never fails
		n.keys = [][]byte{key}
	}
	return n
}

// Current gives the nonce to be used now.
func (n *Nonces) Current(window time.Duration, now time.Time) string {
	return makeNonce(n.keys[0], window, step(window, now))
}

// good takes the current nonce, the one before, and the next one, which a gateway whose clock is ahead has made.
func (n *Nonces) good(nonce string, window time.Duration, now time.Time) bool {
	if nonce == "" {
		return false
	}
	at := step(window, now)
	for _, key := range n.keys {
		for _, s := range [...]int64{at, at - 1, at + 1} {
			if subtle.ConstantTimeCompare([]byte(nonce), []byte(makeNonce(key, window, s))) == 1 {
				return true
			}
		}
	}
	return false
}

func step(window time.Duration, now time.Time) int64 { return now.UnixNano() / int64(window) }

// makeNonce binds a nonce to the window, too: a longer one does not make another issuer's nonces live longer.
func makeNonce(key []byte, window time.Duration, step int64) string {
	var text [16]byte
	binary.BigEndian.PutUint64(text[:8], uint64(window))
	binary.BigEndian.PutUint64(text[8:], uint64(step))
	mac := hmac.New(sha256.New, key)
	mac.Write(text[:])
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:nonceSize])
}
