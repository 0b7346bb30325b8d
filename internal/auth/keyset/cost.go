package keyset

import "time"

// What one check of a signature takes of a processor of 2024, about. Only their ratios matter much: they decide how many
// forged tokens of each kind fit a budget.
const (
	costHMAC    = 5 * time.Microsecond // with the reading of the token, which counts here
	costRSA2048 = 35 * time.Microsecond
	costP256    = 85 * time.Microsecond
	costP384    = 710 * time.Microsecond
	costP521    = 2800 * time.Microsecond
	costEd25519 = 60 * time.Microsecond
)

// Cost is about the processor time that checking one signature with this key takes.
func (k *Key) Cost() time.Duration {
	switch k.Algorithm.Family {
	case RSA:
		return costOfRSA(k.size)
	case EC:
		switch k.Algorithm.curve {
		case "P-256":
			return costP256
		case "P-384":
			return costP384
		}
		return costP521
	case Ed25519:
		return costEd25519
	}
	return costHMAC
}

// costOfRSA grows with the square of the size; 3072 bits and more miss the fast path of 2048.
func costOfRSA(bytes int) time.Duration {
	if bytes <= 256 {
		return costRSA2048
	}
	kilobits := time.Duration((bytes + 127) / 128)
	return 18 * time.Microsecond * kilobits * kilobits
}
