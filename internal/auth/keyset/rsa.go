package keyset

import (
	"crypto/rsa"
	"math/big"
)

// Bounds of an RSA modulus, in bits. Larger ones cost too much to verify, smaller ones are broken (RFC 7518, 3.3).
const (
	minModulus = 2048
	maxModulus = 8192
)

// checkRSA refuses short and huge moduli, even ones, exponents that are even or below 3, and the moduli of the ROCA flaw
// (Nemec and others, CCS 2017), whose factors can be computed.
func checkRSA(k *rsa.PublicKey) error {
	bits := k.N.BitLen()
	if bits < minModulus || bits > maxModulus || k.N.Bit(0) == 0 || k.E < 3 || k.E%2 == 0 || roca(k.N) {
		return errWeak
	}
	return nil
}

var rocaPrimes = [...]uint64{
	3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113,
	127, 131, 137, 139, 149, 151, 157, 163, 167,
}

// roca reports whether a modulus lies in the subgroup made by 65537 for every small prime. A sound modulus does so with a
// chance of about one in 2^27 or less.
func roca(n *big.Int) bool {
	var prime, rest big.Int
	for _, p := range rocaPrimes {
		want := rest.Mod(n, prime.SetUint64(p)).Uint64()
		power := uint64(1)
		for range p {
			if power == want {
				break
			}
			power = power * 65537 % p
		}
		if power != want {
			return false
		}
	}
	return true
}
