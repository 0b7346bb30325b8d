package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var signers = sync.OnceValue(func() map[string]crypto.Signer {
	r, _ := rsa.GenerateKey(rand.Reader, 2048)
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	return map[string]crypto.Signer{"RS": r, "PS": r, "ES256": p256, "ES384": p384, "ES512": p521, "EdDSA": ed}
})

func signerOf(alg string) crypto.Signer {
	if k := signers()[alg]; k != nil {
		return k
	}
	return signers()[alg[:2]]
}

func jwkOf(key crypto.Signer, pairs ...any) object {
	big64 := func(n *big.Int) string { return b64(n.Bytes()) }
	switch k := key.Public().(type) {
	case *rsa.PublicKey:
		return with(object{"kty": "RSA", "n": big64(k.N), "e": big64(big.NewInt(int64(k.E)))}, pairs...)
	case *ecdsa.PublicKey:
		point, _ := k.Bytes()
		half := len(point) / 2
		return with(object{"kty": "EC", "crv": k.Params().Name, "x": b64(point[1 : 1+half]), "y": b64(point[1+half:])}, pairs...)
	case ed25519.PublicKey:
		return with(object{"kty": "OKP", "crv": "Ed25519", "x": b64(k)}, pairs...)
	}
	panic("no such key")
}

func jwksOf(t *testing.T, keys ...object) string {
	t.Helper()
	text, err := json.Marshal(object{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func store(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// keysDocument gives each of the named issuers (source and algorithms, in YAML) a route /name.
func keysGateway(t *testing.T, up string, issuers map[string]string) *gateway {
	t.Helper()
	var routes, rows strings.Builder
	for name, source := range issuers {
		fmt.Fprintf(&rows, ` %s: { issuer: "https://%s.test/", audiences: [api], %s },`, name, name, source)
		fmt.Fprintf(&routes, "  - { id: %s, match: { path: /%s }, auth: { issuers: [%s] }, to: up }\n", name, name, name)
	}
	g := prepare(t, fmt.Sprintf("upstreams: { up: { targets: [%q] } }\nroutes:\n  - { id: main, match: { path: /main }, auth: { issuers: [main] }, to: up }\n", up)+routes.String())
	g.replace("issuers: {", "issuers: {"+rows.String())
	g.start()
	t.Cleanup(g.kill)
	return g
}

// of signs a token for the issuer of that name.
func of(t *testing.T, name, alg string, key any, headerPairs ...any) string {
	t.Helper()
	return mint(t, alg, key, with(object{"alg": alg}, headerPairs...), sound("iss", "https://"+name+".test/"))
}

func TestEveryAlgorithmFromFiles(t *testing.T) {
	issuers := map[string]string{}
	algs := []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
	for _, alg := range algs {
		low := strings.ToLower(alg)
		issuers["pem-"+low] = fmt.Sprintf("keys: [%q], algorithms: [%s]", store(t, "key.pem", publicPEM(t, signerOf(alg))), alg)
		issuers["jwks-"+low] = fmt.Sprintf("keys: [%q], algorithms: [%s]", store(t, "keys.jwks.json", jwksOf(t, jwkOf(signerOf(alg), "kid", "k1", "alg", alg, "use", "sig"))), alg)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "id"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signerOf("ES256").Public(), signerOf("ES256"))
	issuers["certificate"] = fmt.Sprintf("keys: [%q], algorithms: [ES256]", store(t, "id.crt", pemOf(t, "CERTIFICATE", der, err)))
	issuers["both"] = fmt.Sprintf("keys: [%q, %q], algorithms: [RS256, EdDSA]", store(t, "a.pem", publicPEM(t, signerOf("RS256"))), store(t, "b.pem", publicPEM(t, signerOf("EdDSA"))))
	g := keysGateway(t, serve(t, ok).url, issuers)
	for _, alg := range algs {
		pem, set := "pem-"+strings.ToLower(alg), "jwks-"+strings.ToLower(alg)
		g.admits(pem, "/"+pem, of(t, pem, alg, signerOf(alg)))
		g.admits(pem+" with a kid", "/"+pem, of(t, pem, alg, signerOf(alg), "kid", "whatever"))
		g.admits(set, "/"+set, of(t, set, alg, signerOf(alg), "kid", "k1"))
		g.admits(set+" without a kid", "/"+set, of(t, set, alg, signerOf(alg)))
		g.refuses(set+", other kid", badToken, "/"+set, "Authorization: Bearer "+of(t, set, alg, signerOf(alg), "kid", "k2"))
	}
	g.admits("certificate", "/certificate", of(t, "certificate", "ES256", signerOf("ES256")))
	g.admits("first file", "/both", of(t, "both", "RS256", signerOf("RS256")))
	g.admits("second file", "/both", of(t, "both", "EdDSA", signerOf("EdDSA")))
	g.admits("RFC 9864's name", "/pem-eddsa", of(t, "pem-eddsa", "EdDSA", signerOf("EdDSA"), "alg", "Ed25519"))
}

func TestKeysAndAlgorithmsAreBound(t *testing.T) {
	r, public := signerOf("RS256"), publicPEM(t, signerOf("RS256"))
	small, _ := rsa.GenerateKey(rand.Reader, 1024)
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	set := jwksOf(t, jwkOf(r, "kid", "r", "alg", "RS256"), jwkOf(signerOf("ES256"), "kid", "enc", "use", "enc"), jwkOf(signerOf("EdDSA"), "kid", "ops", "key_ops", []string{"sign"}),
		object{"kty": "oct", "kid": "oct", "k": b64([]byte(secret))}, object{"kty": "new", "kid": "new"}, jwkOf(other, "kid", "twice"), jwkOf(signerOf("ES256"), "kid", "twice"),
		with(jwkOf(signerOf("EdDSA"), "kid", "private"), "d", b64(make([]byte, 32))))
	g := keysGateway(t, serve(t, ok).url, map[string]string{
		"rsa": fmt.Sprintf("keys: [%q], algorithms: [RS256, PS256, RS512]", store(t, "k.pem", public)),
		"ec":  fmt.Sprintf("keys: [%q], algorithms: [ES256, ES384]", store(t, "k.pem", publicPEM(t, signerOf("ES256")))),
		"set": fmt.Sprintf("keys: [%q], algorithms: [RS256, PS256, ES256, EdDSA]", store(t, "k.json", set)),
	})
	jwkText, _ := json.Marshal(jwkOf(r))
	der, _ := x509.MarshalPKIXPublicKey(r.Public())
	for name, text := range map[string]string{"PEM": public, "PEM without newline": strings.TrimSpace(public), "leading blank": " " + public, "DER": string(der), "JWK": string(jwkText), "n": string(r.Public().(*rsa.PublicKey).N.Bytes())} {
		g.refuses("HS256 with "+name, badToken, "/rsa", "Authorization: Bearer "+of(t, "rsa", "HS256", []byte(text)))
	}
	g.admits("the first algorithm that fits", "/rsa", of(t, "rsa", "RS256", r))
	for name, token := range map[string]string{
		"another family's hash": of(t, "ec", "ES384", signerOf("ES384")), "ES384 said of a P-256 key": of(t, "ec", "ES256", signerOf("ES256"), "alg", "ES384"), "another key": of(t, "ec", "ES256", other),
		"all-zero": allZero(of(t, "ec", "ES256", signerOf("ES256"))),
	} {
		g.refuses(name, badToken, "/ec", "Authorization: Bearer "+token)
	}
	for name, token := range map[string]string{
		"PS256 by an RS256 key": of(t, "set", "PS256", r, "kid", "r"), "for encryption": of(t, "set", "ES256", signerOf("ES256"), "kid", "enc"), "no verify": of(t, "set", "EdDSA", signerOf("EdDSA"), "kid", "ops"),
		"oct": of(t, "set", "HS256", []byte(secret), "kid", "oct"), "one kid, two keys": of(t, "set", "ES256", other, "kid", "twice"), "private": of(t, "set", "EdDSA", signerOf("EdDSA"), "kid", "private"),
		"weak": of(t, "set", "RS256", small, "kid", "r"),
	} {
		g.refuses(name, badToken, "/set", "Authorization: Bearer "+token)
	}
	g.admits("the sound key beside the others", "/set", of(t, "set", "RS256", r, "kid", "r"))
}

func allZero(token string) string {
	return token[:strings.LastIndexByte(token, '.')+1] + b64(make([]byte, 64))
}

// keyServer is a jwks URL whose answer can be changed; it counts what is fetched.
type keyServer struct {
	*service
	answer atomic.Pointer[http.HandlerFunc]
}

func newKeyServer(t *testing.T, text string) *keyServer {
	t.Helper()
	k := &keyServer{}
	k.says(text)
	k.service = serve(t, func(w http.ResponseWriter, r *http.Request) { (*k.answer.Load())(w, r) })
	return k
}

func (k *keyServer) does(h http.HandlerFunc) { k.answer.Store(&h) }
func (k *keyServer) says(text string) {
	k.does(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) })
}

func TestJWKSFromAURL(t *testing.T) {
	old, next := signerOf("ES256"), signerOf("EdDSA")
	keys := newKeyServer(t, jwksOf(t, jwkOf(old, "kid", "old", "alg", "ES256")))
	g := keysGateway(t, serve(t, ok).url, map[string]string{"far": fmt.Sprintf("jwks: %q, algorithms: [ES256, EdDSA]", keys.url+"/jwks.json")})
	g.admits("at once after the start", "/far", of(t, "far", "ES256", old, "kid", "old"))
	if n := keys.count.Load(); n != 1 {
		t.Errorf("%d fetches at the start", n)
	}
	token := of(t, "far", "EdDSA", next, "kid", "next")
	keys.says(jwksOf(t, jwkOf(next, "kid", "next", "alg", "EdDSA")))
	g.admits("a key that was rotated in", "/far", token)
	g.refuses("a key that has gone, its token cached", badToken, "/far", "Authorization: Bearer "+of(t, "far", "ES256", old, "kid", "old"))
	for i := range 200 {
		kid := fmt.Sprint("random-", i)
		g.refuses(kid, badToken, "/far", "Authorization: Bearer "+of(t, "far", "EdDSA", next, "kid", kid))
	}
	if n := keys.count.Load(); n != 2 {
		t.Errorf("%d fetches: unknown key ids cause one in 30 s", n)
	}
	g.admits("still", "/far", token)
}

// Whatever a key server answers later, the last good keys stay; a SIGHUP keeps them, too.
func TestBrokenKeySets(t *testing.T) {
	key := signerOf("ES256")
	reached := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, jwksOf(t, jwkOf(signerOf("EdDSA"), "kid", "evil")))
	})
	for name, answer := range map[string]http.HandlerFunc{
		"empty":    func(http.ResponseWriter, *http.Request) {},
		"no keys":  func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"keys":[]}`) },
		"HTML":     func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `<html></html>`) },
		"500":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, reached.url, http.StatusFound) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keys := newKeyServer(t, jwksOf(t, jwkOf(key, "kid", "k")))
			g := keysGateway(t, serve(t, ok).url, map[string]string{"far": fmt.Sprintf("jwks: %q, algorithms: [ES256, EdDSA]", keys.url)})
			token := of(t, "far", "ES256", key, "kid", "k")
			g.admits("good", "/far", token)
			keys.does(answer)
			g.refuses("unknown key", badToken, "/far", "Authorization: Bearer "+of(t, "far", "EdDSA", signerOf("EdDSA"), "kid", "evil"))
			g.eventually("the second fetch", func() bool { return keys.count.Load() == 2 })
			g.admits("the same", "/far", token)
			g.admits("another", "/far", of(t, "far", "ES256", key, "kid", "k", "typ", "JWT"))
			before := g.metric(reloadsOK)
			g.signal(syscall.SIGHUP)
			g.eventually("the reload", func() bool { return g.metric(reloadsOK) != before })
			g.admits("after a reload", "/far", token)
			if reached.count.Load() != 0 {
				t.Error("a redirect was followed")
			}
		})
	}
}

func TestKeysThatNeverLoad(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"500":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"silent": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"huge": func(w http.ResponseWriter, _ *http.Request) {
			for range 4096 {
				if _, err := w.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keys := serve(t, answer)
			g := keysGateway(t, serve(t, ok).url, map[string]string{"far": fmt.Sprintf("jwks: %q, algorithms: [ES256]", keys.url)})
			began := time.Now()
			got := g.refuses("no keys", refusal{503, "auth-unavailable", ""}, "/far", "Authorization: Bearer "+of(t, "far", "ES256", signerOf("ES256")))
			if after := got.one("Retry-After"); len(after) != 1 && len(after) != 2 || after == "0" {
				t.Errorf("Retry-After: %q", after)
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("after %s", took)
			}
			g.refuses("no token", noCredential, "/far")
			g.admits("another issuer", "/main", hs(t))
		})
	}
}

// A SIGHUP reads key files again; what the old key signed is void.
func TestKeyFileIsReadAgain(t *testing.T) {
	file := store(t, "key.pem", publicPEM(t, signerOf("ES256")))
	g := keysGateway(t, serve(t, ok).url, map[string]string{"near": fmt.Sprintf("keys: [%q], algorithms: [ES256, EdDSA]", file)})
	old, next := of(t, "near", "ES256", signerOf("ES256")), of(t, "near", "EdDSA", signerOf("EdDSA"))
	g.admits("old", "/near", old)
	if err := os.WriteFile(file, []byte(publicPEM(t, signerOf("EdDSA"))), 0o600); err != nil {
		t.Fatal(err)
	}
	before := g.metric(reloadsOK)
	g.signal(syscall.SIGHUP)
	g.eventually("the reload", func() bool { return g.metric(reloadsOK) != before })
	g.admits("new", "/near", next)
	g.refuses("old", badToken, "/near", "Authorization: Bearer "+old)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	g.signal(syscall.SIGHUP)
	g.eventually("the failure", func() bool { return g.metric(lastReload) == "0" })
	g.admits("the old configuration stays", "/near", next)
	if _, text := g.get(g.admin, "/api/v1/config/errors"); !strings.Contains(text, file) {
		t.Errorf("errors: %s", text)
	}
}
