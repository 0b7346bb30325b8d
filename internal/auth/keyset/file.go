package keyset

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// FromSecret makes the set of a shared secret, for the HS* algorithms among allowed.
func FromSecret(secret string, allowed []*Algorithm) (*Set, error) {
	for _, a := range allowed {
		if len(secret) < a.Hash {
			return nil, fmt.Errorf("the secret is shorter than %d bytes, which %s needs", a.Hash, a.Name)
		}
	}
	return newSet(secretKeys([]byte(secret), allowed))
}

// FromFiles reads key files: PEM with public keys, certificates or private keys (of which the public half is used), or a
// JSON Web Key Set. Errors name the file. In PEM every key has to be usable; in a set, keys of other kinds are skipped. Two keys
// of one algorithm without an id are an error: neither would ever be found.
func FromFiles(names []string, allowed []*Algorithm) (*Set, error) {
	var all []*Key
	var from []string
	for _, name := range names {
		keys, err := readFile(name, allowed)
		if err != nil {
			return nil, fmt.Errorf("key file %s: %w", name, err)
		}
		all = append(all, keys...)
		from = append(from, slices.Repeat([]string{name}, len(keys))...)
	}
	if err := toldApart(all, from); err != nil {
		return nil, err
	}
	return newSet(all)
}

func readFile(name string, allowed []*Algorithm) ([]*Key, error) {
	text, err := readBounded(name)
	if err != nil {
		return nil, err
	}
	if trimmed := bytes.TrimSpace(text); len(trimmed) > 0 && trimmed[0] == '{' {
		keys, _, err := parseKeys(text, allowed)
		if err == nil && len(keys) == 0 {
			err = errors.New("no usable key")
		}
		return keys, err
	}
	var keys []*Key
	err = eachPEM(text, func(block *pem.Block) error {
		public, err := publicKey(block)
		if err != nil {
			return err
		}
		key, err := newKey("", "", public, allowed)
		keys = append(keys, key)
		return err
	})
	return keys, err
}

// SigningKey gives the first private key in the files that fits one of the algorithms (development: `gateway token`).
func SigningKey(names []string, allowed []*Algorithm) (crypto.Signer, *Algorithm, error) {
	for _, name := range names {
		text, err := readBounded(name)
		if err != nil {
			return nil, nil, fmt.Errorf("key file %s: %w", name, err)
		}
		var signer crypto.Signer
		var algorithm *Algorithm
		_ = eachPEM(text, func(block *pem.Block) error { // a file without PEM holds no private key
			private, ok := privateKey(block)
			if !ok || signer != nil {
				return nil
			}
			if k, err := newKey("", "", private.Public(), allowed); err == nil {
				signer, algorithm = private, k.Algorithm
			}
			return nil
		})
		if signer != nil {
			return signer, algorithm, nil
		}
	}
	return nil, nil, errors.New("no key file holds a private key for the configured algorithms")
}

// Sign signs the first two segments of a token. key is a crypto.Signer of the right kind, or a []byte secret.
func (a *Algorithm) Sign(signed string, key any) ([]byte, error) { return a.method.Sign(signed, key) }

func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err // the caller names the file
		}
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxBody+1))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxBody {
		return nil, fmt.Errorf("larger than %d bytes", MaxBody)
	}
	return text, nil
}

func eachPEM(text []byte, f func(*pem.Block) error) error {
	found := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if found++; found > maxKeys {
			return fmt.Errorf("more than %d keys", maxKeys)
		}
		if block.Type == "EC PARAMETERS" { // openssl writes it before an EC key
			continue
		}
		if err := f(block); err != nil {
			return err
		}
	}
	if found == 0 {
		return errors.New("neither PEM nor a JSON key set")
	}
	return nil
}

func publicKey(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return certificate.PublicKey, nil
	}
	if private, ok := privateKey(block); ok {
		return private.Public(), nil
	}
	return nil, fmt.Errorf("a PEM block %q holds no public key", block.Type)
}

func privateKey(block *pem.Block) (crypto.Signer, bool) {
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, false
	}
	signer, ok := key.(crypto.Signer)
	return signer, ok && err == nil
}
