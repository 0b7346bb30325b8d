package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A client certificate that has ended is told, and keeps nobody from starting: the other upstreams are there.
func TestEndedCertificatesAreWarned(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for end, warned := range map[time.Time]bool{time.Now().Add(-time.Hour): true, time.Now().Add(time.Hour): false} {
		leaf := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: end.Add(-48 * time.Hour), NotAfter: end}
		raw, err := x509.CreateCertificate(rand.Reader, leaf, leaf, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "pair.pem")
		text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		result, err := Parse("f", fmt.Appendf(nil, "version: 1\nupstreams:\n  up: { targets: [\"https://up.test\"], tls: { cert: %q, key: %[1]q } }\nroutes: [ { id: a, match: { path: /a }, auth: none, to: up } ]\n", file), testEnv)
		if err != nil {
			t.Fatal(err)
		}
		if err := result.Files(); err != nil {
			t.Errorf("it keeps the gateway from starting: %v", err)
		}
		told := len(result.Warnings) == 1 && strings.Contains(result.Warnings[0].Message, "ended at") && result.Warnings[0].Path == "upstreams.up.tls.cert"
		if told != warned {
			t.Errorf("ends %v: %+v", end, result.Warnings)
		}
	}
}
