// Package keyset holds the keys that verify an issuer's tokens: read from files, from a shared secret, or fetched from a
// URL and refreshed in the background.
//
// It promises that every key carries exactly one algorithm, that a weak, private or symmetric key from outside is never
// loaded, and that nothing in a token makes it call anywhere: only the configured URL is fetched, at most one extra time in
// thirty seconds for unknown key ids. It does not look at claims. When the URL fails, the last good set stays in use up to
// its age limit; after that, and before the first load, the error says that there are no keys.
package keyset

import (
	"crypto"
	"crypto/rsa"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// Algorithm is a signature algorithm of RFC 7518 or RFC 8037 as it is configured.
type Algorithm struct {
	Name   string
	Family Family
	Hash   int // bytes of the hash: the least length of an HMAC secret
	curve  string
	method jwt.SigningMethod
}

// Family is the kind of key that an algorithm takes.
type Family uint8

// The families.
const (
	HMAC Family = iota + 1
	RSA
	EC
	Ed25519
)

// pss pins the salt to the length of the hash (RFC 7518, 3.5). The library's own methods take any salt.
func pss(name string, hash crypto.Hash) jwt.SigningMethod {
	options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	return &jwt.SigningMethodRSAPSS{
		SigningMethodRSA: &jwt.SigningMethodRSA{Name: name, Hash: hash}, Options: options, VerifyOptions: options,
	}
}

var algorithms = [...]Algorithm{
	{"HS256", HMAC, 32, "", jwt.SigningMethodHS256},
	{"HS384", HMAC, 48, "", jwt.SigningMethodHS384},
	{"HS512", HMAC, 64, "", jwt.SigningMethodHS512},
	{"RS256", RSA, 32, "", jwt.SigningMethodRS256},
	{"RS384", RSA, 48, "", jwt.SigningMethodRS384},
	{"RS512", RSA, 64, "", jwt.SigningMethodRS512},
	{"PS256", RSA, 32, "", pss("PS256", crypto.SHA256)},
	{"PS384", RSA, 48, "", pss("PS384", crypto.SHA384)},
	{"PS512", RSA, 64, "", pss("PS512", crypto.SHA512)},
	{"ES256", EC, 32, "P-256", jwt.SigningMethodES256},
	{"ES384", EC, 48, "P-384", jwt.SigningMethodES384},
	{"ES512", EC, 64, "P-521", jwt.SigningMethodES512},
	{"EdDSA", Ed25519, 64, "Ed25519", jwt.SigningMethodEdDSA},
}

// Names lists the algorithms that can be configured.
func Names() []string {
	names := make([]string, len(algorithms))
	for i := range algorithms {
		names[i] = algorithms[i].Name
	}
	return names
}

// Find gives the algorithm of that name, nil for any other word: names are compared exactly. Ed25519 is another name of
// EdDSA (RFC 9864).
func Find(name string) *Algorithm {
	if name == "Ed25519" {
		name = "EdDSA"
	}
	for i := range algorithms {
		if algorithms[i].Name == name {
			return &algorithms[i]
		}
	}
	return nil
}

// choose gives the one algorithm of a key: the one the key names if it is among the configured ones and fits, else the
// first configured one that fits the key. Nil means that the key is of no use here.
func choose(named string, family Family, curve string, allowed []*Algorithm) *Algorithm {
	fits := func(a *Algorithm) bool { return a.Family == family && a.curve == curve }
	if named == "" {
		if i := slices.IndexFunc(allowed, fits); i >= 0 {
			return allowed[i]
		}
		return nil
	}
	if a := Find(named); a != nil && slices.Contains(allowed, a) && fits(a) {
		return a
	}
	return nil
}
