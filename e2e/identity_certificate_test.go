package e2e

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// clientCertificates makes a root and certificates of clients, verified against it.
func clientCertificates(t *testing.T, names ...string) (root string, certificates []tls.Certificate) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clients"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, private.Public(), private)
	root = store(t, "clients.pem", pemOf(t, "CERTIFICATE", der, err))
	for i, name := range names {
		key := newEd25519(t)
		template := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 2)), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		der, err := x509.CreateCertificate(rand.Reader, template, ca, key.private.Public(), private)
		if err != nil {
			t.Fatal(err)
		}
		certificates = append(certificates, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key.private})
	}
	return root, certificates
}

// Case 58: a token of a certificate (RFC 8705) is good on connections whose client showed that certificate, at every use.
func TestCase58(t *testing.T) {
	cert, key := pair(t, t.TempDir(), "localhost")
	root, clients := clientCertificates(t, "mine.test", "theirs.test")
	up := newMirror(t)
	g := prepare(t, strings.ReplaceAll(proving, "@UP@", up.url))
	provingDocument(g, "")
	g.replace("listen: {", fmt.Sprintf("listen: { tls: { certificates: [{ cert: %q, key: %q }], client_ca: %q, client_auth: optional },", cert, key, root))
	g.start()
	t.Cleanup(g.kill)
	// ask sends two requests on one connection.
	ask := func(name string, shown *tls.Certificate, want int, challenge string, fields ...string) {
		t.Helper()
		cfg := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}
		if shown != nil {
			cfg.Certificates = []tls.Certificate{*shown}
		}
		c, err := tls.Dial("tcp", g.address, cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		for range 2 {
			got := dialogOn(t, c).say(line("GET", "/orders/1", fields...)).hear("GET")
			if got.status != want || got.header.Get("WWW-Authenticate") != challenge {
				t.Errorf("%s: %d %q", name, got.status, got.header.Get("WWW-Authenticate"))
			}
		}
	}
	mine, theirs := &clients[0], &clients[1]
	sum := sha256.Sum256(mine.Certificate[0])
	bound := "Authorization: Bearer " + hs(t, "cnf", object{"x5t#S256": b64(sum[:])})
	for range 2 {
		ask("none", nil, 401, tokenChallenge, bound)
		ask("theirs", theirs, 401, tokenChallenge, bound)
		ask("mine", mine, 200, "", bound)
		ask("unbound, none", nil, 200, "", "Authorization: Bearer "+hs(t))
		ask("unbound, theirs", theirs, 200, "", "Authorization: Bearer "+hs(t))
	}
	h := newHolder(t)
	both := &holder{t, h.key, hs(t, "cnf", object{"jkt": jktOf(t, h.key), "x5t#S256": b64(sum[:])})}
	ask("both, certificate alone", mine, 401, badHolder.challenge, "Authorization: Bearer "+both.token)
	ask("both, another certificate", theirs, 401, badHolder.challenge, both.fields(both.proof("/orders/1"))...)
}
