package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const forwarding = `upstreams: { up: { targets: [%q] } }
routes:
  - { id: claims, match: { path: /claims }, auth: { issuers: [main] }, forward: { claims: { X-User-Id: sub, X-Tenant: tenant, X-Roles: roles, X-Level: level, X-Address: address } }, to: up }
  - { id: maybe, match: { path: /maybe }, auth: { issuers: [main], optional: true }, forward: { claims: { X-User-Id: sub } }, to: up }
  - { id: open, match: { path: /open }, auth: none, to: up }
  - { id: token, match: { path: /token }, auth: { issuers: [main] }, forward: { authorization: true }, to: up }
  - { id: open-token, match: { path: /open-token }, auth: none, forward: { authorization: true }, to: up }
`

// spoofed are the fields with which a client tries to be somebody.
var spoofed = []string{"X-User-Id: root", "x-user-id: root", "X_User_Id: root", "X-USER_ID: root", "X-Tenant: root", "X-Roles: root", "Connection: X-User-Id, X-Tenant, Authorization, X-Roles"}

func TestClaimsGoUpstream(t *testing.T) {
	up := newMirror(t)
	g := begin(t, fmt.Sprintf(forwarding, up.url))
	token := hs(t, "sub", "alice", "tenant", "acme corp", "roles", []string{"a", "b"}, "level", 5, "address", object{"city": "Bonn"})
	got := speak(t, g.address, line("GET", "/claims", append(spoofed, "Authorization: Bearer "+token)...))
	want := map[string][]string{"X-User-Id": {"alice"}, "X-Tenant": {"acme corp"}, "X-Roles": {`["a","b"]`}, "X-Level": {"5"}, "X-Address": {`{"city":"Bonn"}`}, "Authorization": nil}
	for name, values := range want {
		if !slices.Equal(got.sent(name), values) {
			t.Errorf("%s: %q, wanted %q in\n%s", name, got.sent(name), values, got.body)
		}
	}
	if strings.Contains(got.body, "root") {
		t.Errorf("a spoofed field went upstream:\n%s", got.body)
	}
}

// A claim that is absent, or can't stand in a header as it is, leaves no header at all.
func TestClaimsThatCannotBeSent(t *testing.T) {
	up := newMirror(t)
	g := begin(t, fmt.Sprintf(forwarding, up.url))
	for name, tenant := range map[string]any{"absent": omit, "null": nil, "not ASCII": "zoë", "CRLF": "a\r\nX-Admin: 1", "NUL": "a\x00", "empty": "", "blank": " a", "long": strings.Repeat("a", 5000)} {
		got := speak(t, g.address, line("GET", "/claims", append(spoofed, "Authorization: Bearer "+hs(t, "tenant", tenant))...))
		if got.status != 200 || len(got.sent("X-Tenant")) != 0 || len(got.sent("X-Admin")) != 0 || !slices.Equal(got.sent("X-User-Id"), []string{"alice"}) || strings.Contains(got.body, "root") {
			t.Errorf("%s: %d\n%s", name, got.status, got.body)
		}
	}
}

// Fields that any route sets can be sent on none.
func TestSpoofedIdentityIsStripped(t *testing.T) {
	up := newMirror(t)
	g := begin(t, fmt.Sprintf(forwarding, up.url))
	for _, path := range []string{"/open", "/maybe", "/token", "/open-token"} {
		fields := spoofed[:len(spoofed)-1] // naming Authorization in Connection would remove it where it is wanted
		if path == "/token" {
			fields = append(slices.Clone(fields), "Authorization: Bearer "+hs(t))
		}
		got := speak(t, g.address, line("GET", path, fields...))
		if got.status != 200 || strings.Contains(got.body, "root") || len(got.sent("X-User-Id")) != 0 {
			t.Errorf("%s: %d\n%s", path, got.status, got.body)
		}
	}
	got := speak(t, g.address, line("GET", "/open", "X-Other: kept", "X-User: kept"))
	if !slices.Equal(got.sent("X-Other"), []string{"kept"}) || !slices.Equal(got.sent("X-User"), []string{"kept"}) {
		t.Errorf("fields of others are dropped:\n%s", got.body)
	}
}

func TestAuthorizationIsForwardedOnlyWhenAsked(t *testing.T) {
	up := newMirror(t)
	g := begin(t, fmt.Sprintf(forwarding, up.url))
	field := "Bearer " + hs(t)
	for path, values := range map[string][]string{"/claims": nil, "/maybe": nil, "/open": nil, "/token": {field}, "/open-token": {field}} {
		if got := speak(t, g.address, line("GET", path, "Authorization: "+field)); !slices.Equal(got.sent("Authorization"), values) {
			t.Errorf("%s: %q\n%s", path, got.sent("Authorization"), got.body)
		}
	}
	g.soundLog(field[len(field)-30:])
}

func TestForwardedFieldsOfStrangersAreReplaced(t *testing.T) {
	up := newMirror(t)
	g := begin(t, fmt.Sprintf(forwarding, up.url))
	got := speak(t, g.address, line("GET", "/open", "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Host: evil.test", "X-Forwarded-Proto: https", "X-Forwarded-Prefix: /evil", "X-Forwarded-Uri: /evil",
		"X-Forwarded-Port: 666", "X-Real-IP: 6.6.6.6", "Forwarded: for=6.6.6.6"))
	want := map[string][]string{"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Host": {"gw.test"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Prefix": nil, "X-Forwarded-Uri": nil, "X-Forwarded-Port": nil, "X-Real-IP": nil, "Forwarded": nil}
	for name, values := range want {
		if !slices.Equal(got.sent(name), values) {
			t.Errorf("%s: %q, wanted %q", name, got.sent(name), values)
		}
	}
}
