package keyset

import (
	"crypto"
	"crypto/x509"
	"strings"
	"testing"
	"testing/synctest"
)

func publicPEM(key crypto.Signer) []byte {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	return block("PUBLIC KEY", der, err)
}

// Keys that no token can tell apart would fail in silence: key files that hold such are an error, which names them.
func TestFilesWhoseKeysCantBeToldApart(t *testing.T) {
	k := testKeys()
	one, two := write(t, publicPEM(k.p256)), write(t, publicPEM(k.other))
	both := write(t, publicPEM(k.p256), publicPEM(k.other))
	set := write(t, jwks(jwkOf(k.p256, "", "kid", nil), jwkOf(k.ed, "e"), jwkOf(k.other, "")))
	for want, files := range map[string][]string{
		"key files " + one + " and " + two + ": two keys for ES256 have no kid": {one, two},
		"key file " + both + ": two keys for ES256 have no kid":                 {both},
		"key file " + set + ": two keys for ES256 have no kid":                  {set},
		"key files " + one + " and " + set + ": two keys":                       {one, set},
	} {
		if _, err := FromFiles(files, asymmetric); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v is not %q", err, want)
		}
	}
	named := write(t, jwks(jwkOf(k.other, "new")))
	for name, files := range map[string][]string{
		"the same twice": {one, one}, "another kind": {one, write(t, publicPEM(k.p384), publicPEM(k.rsa))}, "the second has an id": {one, named},
		"each names its alg": {write(t, jwks(jwkOf(k.rsa, "", "alg", "RS256"), jwkOf(k.rsa, "", "alg", "PS256")))},
	} {
		if set, err := FromFiles(files, asymmetric); err != nil || len(set.Doubts(algs("RS256", "ES256"))) != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	es := Find("ES256")
	turned, err := FromFiles([]string{one, named}, asymmetric) // how to rotate: the old key has no id, the new one has
	if err != nil {
		t.Fatal(err)
	}
	if old, next := turned.Find("", false, es), turned.Find("new", true, es); old == nil || next == nil || old == next {
		t.Error("a rotation to keys with ids")
	}
}

func TestDoubts(t *testing.T) {
	k := testKeys()
	for name, c := range map[string]struct {
		keys    []object
		allowed []*Algorithm
		want    []string
	}{
		"twins":                  {[]object{jwkOf(k.p256, ""), jwkOf(k.other, "")}, algs("ES256"), []string{"2 keys for ES256 have no kid"}},
		"twins of several kinds": {[]object{jwkOf(k.p256, ""), jwkOf(k.other, ""), jwkOf(k.ed, "")}, asymmetric, []string{"2 keys for ES256"}},
		"ids":                    {[]object{jwkOf(k.p256, "a"), jwkOf(k.other, "b")}, algs("ES256"), nil},
		"passed over":            {[]object{jwkOf(k.rsa, "a")}, algs("RS256", "PS256", "RS512"), []string{"no key takes PS256", "no key takes RS512"}},
		"the other order":        {[]object{jwkOf(k.rsa, "a")}, algs("PS256", "RS256"), []string{"no key takes RS256: one that names no alg takes the first algorithm of its kind that is listed, PS256"}},
		"the key names its alg":  {[]object{jwkOf(k.rsa, "a", "alg", "RS256")}, algs("RS256", "PS256"), nil},
		"another names it":       {[]object{jwkOf(k.rsa, "a"), jwkOf(k.rsa, "p", "alg", "PS256")}, algs("RS256", "PS256"), nil},
		"another kind":           {[]object{jwkOf(k.rsa, "a")}, algs("RS256", "ES256", "EdDSA"), nil},
		"another curve":          {[]object{jwkOf(k.p256, "a")}, algs("ES256", "ES384"), nil},
	} {
		set, _, err := ParseJWKS(jwks(c.keys...), c.allowed)
		if err != nil {
			t.Fatal(name, err)
		}
		got := set.Doubts(c.allowed)
		if len(got) != len(c.want) {
			t.Errorf("%s: %q", name, got)
			continue
		}
		for i, want := range c.want {
			if !strings.Contains(got[i], want) {
				t.Errorf("%s: %q lacks %q", name, got[i], want)
			}
		}
	}
}

// What is doubtful about keys from a URL is told when they change, and not again.
func TestDoubtsOfAFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{}
		s.says(200, jwks(jwkOf(testKeys().p256, ""), jwkOf(testKeys().other, "")))
		r, all := remote(s)
		defer r.Close()
		synctest.Wait()
		if f := last(all()); !f.Changed || len(f.Doubts) != 1 {
			t.Errorf("%+v", f)
		}
		r.Refresh(fetchTimeout)
		if f := last(all()); len(all()) != 2 || f.Changed || f.Doubts != nil {
			t.Errorf("%+v", f)
		}
	})
}
