package auth

import (
	"bytes"
	"encoding/base64"
)

// Bounds of a token, checked before anything is decoded.
const (
	maxToken  = 8 << 10
	maxHeader = 1 << 10 // of the first segment
)

// token is a compact JWS (RFC 7515, 3.1) cut into segments, which are borrowed.
type token struct {
	header, payload, signature []byte // base64url text
	signed                     []byte // header and payload with their dot
}

var strict = base64.RawURLEncoding.Strict()

var alphabet = func() (table [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		table[c] = true
	}
	return table
}()

// split demands three segments that are not empty and hold letters of base64url only. So a JWE, the JSON serialisation,
// padding, spaces and line breaks end here, in one pass and without an allocation.
func split(text []byte) (token, bool) {
	if len(text) > maxToken {
		return token{}, false
	}
	first := bytes.IndexByte(text, '.')
	if first <= 0 || first > maxHeader {
		return token{}, false
	}
	second := bytes.IndexByte(text[first+1:], '.')
	if second <= 0 {
		return token{}, false
	}
	second += first + 1
	t := token{text[:first], text[first+1 : second], text[second+1:], text[:second]}
	ok := len(t.signature) > 0 && legal(t.header) && legal(t.payload) && legal(t.signature)
	return t, ok
}

func legal(segment []byte) bool {
	for _, c := range segment {
		if !alphabet[c] {
			return false
		}
	}
	return true
}

// decode appends the bytes of a segment to dst[:0]. Spare bits have to be zero: every token has one spelling.
func decode(dst, segment []byte) ([]byte, bool) {
	out, err := strict.AppendDecode(dst[:0], segment)
	return out, err == nil
}
