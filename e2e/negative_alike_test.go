package e2e

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"time"
)

const alikeDocument = `upstreams: { up: { targets: [%q] } }
basic_users: { ops: { users: [ { name: anna, hash: %q } ] } }
client_certificates: { partners: { clients: [ { id: acme, uri: "spiffe://acme.test/*" } ] } }
routes:
  - { id: asked, match: { path: /asked }, auth: { issuers: [asked] }, to: up }
  - { id: proven, match: { path: /proven }, auth: { issuers: [bound] }, to: up }
  - { id: basic, match: { path: /basic }, auth: { basic: [ops] }, to: up }
  - { id: certs, match: { path: /certs }, auth: { certificates: [partners] }, to: up }
  - { id: ruled, match: { path: /ruled }, auth: { issuers: [main], require: { expression: 'claims.level > 3 && claims.name.startsWith("a")' } }, to: up }
`

// Cases 51, 54 to 60, 67 and 69 as TestNegativeCases does it for tokens: whatever is wrong with a credential, all refusals of a
// kind are the same bytes, have one line in the log that holds no part of it, and the upstream saw nothing.
func TestRefusalsOfAKindAreAlike(t *testing.T) {
	up, s, ca, h := newMirror(t), newIntrospector(t), newAuthority(t, "ca", nil), newHolder(t)
	g := prepare(t, fmt.Sprintf(alikeDocument, up.url, hashed(t, "secret")))
	g.replace("issuers: {", fmt.Sprintf(`issuers: { bound: { issuer: "https://id.test/", audiences: [api], secret: %q, algorithms: [HS256], dpop: { base: %q } },
  asked: { issuer: "https://asked.test/", audiences: [api], introspection: { url: "%s/introspect", client_id: gateway, client_secret: "e2e-p+ss" } },`, secret, proofBase, s.url))
	g.offersTLS("optional", ca.pem())
	g.start()
	t.Cleanup(g.kill)
	none := asHost("gw.test")
	acme, stranger := ca.client(t, "spiffe://acme.test/a", nil), ca.client(t, "spiffe://x.test/a", nil)
	bare := ca.client(t, "https://acme.test/a", nil) // acme by its common name alone
	sum := sha256.Sum256(acme.Certificate[0])
	now := time.Now().Unix()
	with := func(pairs ...any) string { return bearerOf(hs(t, pairs...)) }
	said := func(name string, claims any) string { return bearerOf(s.knows("opaque-"+name+"-0123456789", claims)) }
	good, unbound := h.proof("/proven"), &holder{t, h.key, hs(t, "jti", "free")}
	late := &holder{t, h.key, hs(t, "cnf", object{"jkt": jktOf(t, h.key)}, "exp", now-99)}
	both := &holder{t, h.key, hs(t, "cnf", object{"jkt": jktOf(t, h.key), "x5t#S256": b64(sum[:])})}
	type sent struct {
		shown  *tls.Config
		fields []string
	}
	plain := func(fields ...string) sent { return sent{none, fields} }
	n := 0
	var words, ids []string
	for _, kind := range []struct {
		path string
		want refusal
		sent []sent
	}{
		{"/asked", badToken, []sent{plain(said("inactive", object{"active": false})), plain(said("unknown", nil)), plain(said("text", live("active", "true"))), plain(said("audience", live("aud", "other"))), plain(said("issuer", live("iss", "https://id.test/"))),
			plain(said("expired", live("exp", now-99))), plain(said("early", live("nbf", now+999))), plain(said("refresh", live("token_use", "refresh_token"))), plain(said("bound", live("cnf", object{"jkt": jktOf(t, h.key)}))), plain(bearerOf("opaque\"quoted-0123456789")), plain(with("x", strings.Repeat("x", 9<<10)))}},
		{"/proven", badProof, []sent{plain("Authorization: DPoP " + h.token), plain(h.fields("x.y.z")...), plain(h.fields(h.proof("/other"))...), plain(h.fields(h.proof("/proven", "iat", now-999))...), plain(h.fields(h.proof("/proven", "htm", "PUT"))...),
			plain(h.fields(h.proof("/proven", "ath", "x"))...), plain(h.fields(good[:len(good)-8] + "AAAAAAAA")...), plain(h.fields(newHolder(t).proof("/proven"))...), plain(append(h.fields(good), "DPoP: "+good)...)}},
		{"/proven", badHolder, []sent{plain("Authorization: Bearer " + h.token), plain(unbound.fields(unbound.proof("/proven"))...), plain(late.fields(late.proof("/proven"))...), plain("Authorization: DPoP x.y.z", "DPoP: "+good), {none, both.fields(both.proof("/proven"))}}},
		{"/proven", badToken, []sent{plain(with("cnf", object{"x5t#S256": b64(sum[:])})), {asHost("gw.test", stranger), []string{with("cnf", object{"x5t#S256": b64(sum[:])})}}, plain(with("cnf", object{"new": "x"})), plain(with("exp", now-99)), plain(with("aud", "other"))}},
		{"/basic", refusal{401, "unauthenticated", basicChallenge}, []sent{plain(login("anna:wrong-0123456789")), plain(login("nobody:wrong-0123456789")), plain(login("nobody:secret")), plain(login("anna-0123456789")), plain("Authorization: Basic"), plain("Authorization: Basic ???????????????"), plain(login("anna:\x01-0123456789")),
			plain("Authorization: Digest username=anna-0123456789"), plain(with()), plain(login("anna:" + strings.Repeat("x", 2000))), plain()}},
		{"/certs", refusal{401, "unauthenticated", `Certificate realm="oncegate"`}, []sent{plain(), {asHost("gw.test", stranger), nil}, {asHost("gw.test", bare), nil}, plain(with()), plain(login("anna:secret")), plain("X-Client-Cert: acme-0123456789")}},
		{"/ruled", forbidden, []sent{plain(with("level", 1, "name", "anna")), plain(with("level", "9", "name", "anna")), plain(with("name", "anna")), plain(with("level", 9, "name", 5)), plain(with("level", 9, "name", "bert")), plain(with("level", nil, "name", nil))}},
	} {
		first := ""
		for i, one := range kind.sent {
			id := fmt.Sprintf("alike-%04d", n)
			n++
			row := negative{n: i, name: kind.path, want: kind.want, text: line("GET", kind.path, append(one.fields, "X-Request-Id: "+id)...)}
			g.tls = one.shown
			got := g.speak(row.text)
			row.judge(t, got)
			ids, words = append(ids, got.one("X-Request-Id")), append(words, row.words()...)
			text := settled(strings.ReplaceAll(got.head+"\r\n\r\n"+got.body, id, "ID"))
			if first == "" {
				first = text
			} else if text != first {
				t.Errorf("%s %d can be told from the first:\n%s\n%s", kind.path, i, text, first)
			}
		}
	}
	if up.count.Load() != 0 {
		t.Errorf("the upstream was asked %d times", up.count.Load())
	}
	if len(words) < n {
		t.Errorf("only %d words to look for", len(words))
	}
	g.accessLines(n)
	g.soundLog(append(words, "e2e-p+ss", "acme-0123456789", "$argon2id")...)
	for _, id := range ids {
		if c := strings.Count(g.log.String(), `"`+id+`"`); c != 1 {
			t.Errorf("%s: %d lines", id, c)
		}
	}
}
