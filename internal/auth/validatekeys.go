package auth

import (
	"crypto/sha256"
	"maps"
	"slices"
	"strings"

	"github.com/oncegate/oncegate/internal/units"
)

// claimsOfTokens are names that a key can't claim: they say who issued a token to whom and for how long, or come from the
// key itself.
var claimsOfTokens = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "cnf", "scope", "scp"}

// guessable are keys that anybody tries first.
var guessable = []string{"", "test", "secret", "password", "changeme", "change-me", "key", "apikey", "api-key", "admin", "demo", "example", "123456", "12345678", "hunter2"}

// Validate finds what tags can't say: whether the header can carry a key, and whether keys are told apart. That no key stands
// in two lists of one header is found when the lists are compiled.
func (c *APIKeysConfig) Validate(p units.Problems) {
	if name, ok := strings.CutPrefix(p.Path(), "api_keys."); ok && !isKeyName(name) {
		p.Add("%q is not the name of a list of keys: letters, digits and -_.@", name)
	}
	low := strings.ToLower(c.Header)
	switch {
	case c.Header == "": // not filled in
	case !isToken(c.Header) || strings.Contains(c.Header, "_"):
		p.Key("header").Add("%q is not a header name of letters, digits and '-'", c.Header)
	case slices.Contains(reserved, low) || strings.HasPrefix(low, "x-forwarded-"):
		p.Key("header").Add("header %s is not for keys", c.Header)
	}
	if len(c.Keys) == 0 {
		p.Missing("keys", "the list holds no key: nobody could ever pass")
	}
	ids, digests := map[string]bool{}, map[string]string{}
	for i := range c.Keys {
		row, at := &c.Keys[i], p.Key("keys").Index(i)
		row.validate(at)
		if ids[row.ID] {
			at.Key("id").Add("key %q stands here twice: a second secret of one client belongs to the same key", row.ID)
		}
		ids[row.ID] = true
		for _, digest := range row.digests() {
			digest = strings.ToLower(digest)
			if other, there := digests[digest]; there {
				at.Key("sha256").Add("the secret is the same as one of key %s", other)
			}
			digests[digest] = row.ID
		}
	}
}

func (r *APIKeyRow) validate(p units.Problems) {
	if !isKeyName(r.ID) {
		p.Key("id").Add("%q is not an id: letters, digits and -_.@", r.ID)
	}
	for _, text := range r.digests() {
		validateDigest(text, p.Key("sha256"))
	}
	for i, scope := range r.Scopes {
		if !isScope(scope) {
			p.Key("scopes").Index(i).Add("%q is not a scope: one word of printable ASCII without quotes and backslashes", scope)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Claims)) {
		if slices.Contains(claimsOfTokens, name) {
			p.Key("claims").Key(name).Add("claim %s is not for keys: it comes from the key itself, or belongs to tokens", name)
		}
	}
	validateNetworks(r.CIDR, p.Key("cidr"))
	from, errFrom := units.Instant(r.NotBefore)
	until, errUntil := units.Instant(r.Expires)
	if errFrom != nil {
		p.Key("not_before").Add("%s", errFrom)
	}
	if errUntil != nil {
		p.Key("expires").Add("%s", errUntil)
	}
	if errFrom == nil && errUntil == nil && r.Expires != "" && !from.Before(until) {
		p.Key("expires").Add("the key ends before it begins")
	}
}

// validateDigest never quotes what stands there: it may be the key itself.
func validateDigest(text string, p units.Problems) {
	if _, err := parseDigest(text); err != nil {
		p.Add("has to be the SHA-256 of the key, as 64 hex digits: printf %%s \"$KEY\" | sha256sum")
	}
}

// Guessable reports the hash, in hex, of a key that anybody tries first. It is no mistake in a document, examples have such
// keys: whoever runs one has to be told.
func Guessable(text string) bool {
	d, err := parseDigest(text)
	return err == nil && slices.ContainsFunc(guessable, func(word string) bool { return d == sha256.Sum256([]byte(word)) })
}

// tellGuessable has the log say which keys are no secrets.
func (a *Authority) tellGuessable(lists map[string]APIKeysConfig) {
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		for _, row := range lists[name].Keys {
			if slices.ContainsFunc(row.digests(), Guessable) {
				a.logger.Warn("an API key is one that anybody guesses", "list", name, "key", row.ID)
			}
		}
	}
}

func validateNetworks(texts []string, p units.Problems) {
	for i, text := range texts {
		if _, err := parseNetworks([]string{text}); err != nil {
			p.Index(i).Add("%s", err)
		}
	}
}
