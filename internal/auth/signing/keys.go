package signing

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

const (
	maxFile = 64 << 10
	maxKeys = 8
)

// key is one key; private is nil where the file holds its public half only.
type key struct {
	id      string
	public  ed25519.PublicKey
	private crypto.Signer
}

func (k key) same(other key) bool {
	return k.id == other.id && (k.private == nil) == (other.private == nil)
}

// readKeys reads all files. The first key has to be a private one: it signs. The others verify what is still around, or are
// published before they sign.
func readKeys(files []string) ([]key, error) {
	if len(files) == 0 || len(files) > maxKeys {
		return nil, fmt.Errorf("1 to %d keys are needed", maxKeys)
	}
	var keys []key
	for i, file := range files {
		k, err := readKey(file)
		switch {
		case err != nil:
			return nil, fmt.Errorf("key file %s: %w", file, err)
		case i == 0 && k.private == nil:
			return nil, fmt.Errorf("key file %s: the first key signs, and this is only the public half", file)
		case slices.ContainsFunc(keys, func(other key) bool { return other.id == k.id }):
			return nil, fmt.Errorf("key file %s: the key is there already", file)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

var errKind = errors.New("not one Ed25519 key in PEM, PKCS #8 or its public half: openssl genpkey -algorithm ed25519")

func readKey(file string) (key, error) {
	f, err := os.Open(file)
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		return key{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return key{}, err
	}
	block, rest := pem.Decode(text)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return key{}, errKind
	}
	switch block.Type {
	case "PRIVATE KEY":
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if private, ok := parsed.(ed25519.PrivateKey); err == nil && ok {
			public := private.Public().(ed25519.PublicKey)
			return key{thumbprint(public), public, private}, nil
		}
	case "PUBLIC KEY":
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if public, ok := parsed.(ed25519.PublicKey); err == nil && ok {
			return key{thumbprint(public), public, nil}, nil
		}
	}
	return key{}, errKind
}

// thumbprint names a key by its content (RFC 7638, 3; RFC 8037, 2).
func thumbprint(public ed25519.PublicKey) string {
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"Ed25519","kty":"OKP","x":"%s"}`, base64.RawURLEncoding.EncodeToString(public)))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func jwks(keys []key) []byte {
	text := []byte(`{"keys":[`)
	for i, k := range keys {
		if i > 0 {
			text = append(text, ',')
		}
		text = fmt.Appendf(text, `{"kty":"OKP","crv":"Ed25519","use":"sig","alg":"EdDSA","kid":"%s","x":"%s"}`, k.id, base64.RawURLEncoding.EncodeToString(k.public))
	}
	return append(text, ']', '}')
}
