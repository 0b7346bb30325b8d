package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"

	"github.com/go-json-experiment/json/jsontext"
)

// maxAPIKey bounds a presented key: longer ones are refused without being hashed.
const maxAPIKey = 512

// digest is SHA-256 of a key: the only form in which a key is known here.
type digest = [sha256.Size]byte

// apiKey is one key of a list, with the client that it stands for. It is immutable and owns its strings.
type apiKey struct {
	digest             digest
	notBefore, expires time.Time // zero: no such bound
	networks           []netip.Prefix
	client             pipeline.Client
	claims             *claims
}

// keyList is one list of keys. It is immutable.
type keyList struct {
	name, header string // header in lower case
	keys         map[digest]*apiKey
}

// newKeyLists compiles api_keys. A key that stands in two lists of one header could be two clients, and is an error.
func newKeyLists(lists map[string]APIKeysConfig) (map[string]*keyList, error) {
	all := make(map[string]*keyList, len(lists))
	owner := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		l, err := newKeyList(name, lists[name])
		if err != nil {
			return nil, fmt.Errorf("api_keys %s: %w", name, err)
		}
		for d, k := range l.keys {
			at := l.header + string(d[:])
			if other := owner[at]; other != "" {
				return nil, fmt.Errorf("api_keys %s: key %s is a key of list %s as well", name, k.client.Subject, other)
			}
			owner[at] = name
		}
		all[name] = l
	}
	return all, nil
}

// maxKeyHeaders leaves room in an exchange for the headers that claims fill.
const maxKeyHeaders = 4

// readKeys compiles the lists of a document.
func (a *Authority) readKeys(lists map[string]APIKeysConfig) (err error) {
	if a.lists, err = newKeyLists(lists); err != nil {
		return err
	}
	a.tellGuessable(lists)
	if a.hidden = KeyHeaders(lists); len(a.hidden) > maxKeyHeaders {
		return fmt.Errorf("api_keys: at most %d different headers can carry keys", maxKeyHeaders)
	}
	return nil
}

func newKeyList(name string, cfg APIKeysConfig) (*keyList, error) {
	l := &keyList{name: name, header: cfg.header(), keys: make(map[digest]*apiKey, len(cfg.Keys))}
	if !isKeyName(name) {
		return nil, fmt.Errorf("the name holds other than letters, digits and -_.@")
	}
	for i := range cfg.Keys {
		row := &cfg.Keys[i]
		k, err := newAPIKey(name, row)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", row.ID, err)
		}
		for _, text := range row.digests() {
			own := *k
			if own.digest, err = parseDigest(text); err != nil {
				return nil, fmt.Errorf("key %s: %w", row.ID, err)
			}
			if other := l.keys[own.digest]; other != nil {
				return nil, fmt.Errorf("key %s is the same as key %s", row.ID, other.client.Subject)
			}
			l.keys[own.digest] = &own
		}
	}
	return l, nil
}

// header is the list's header in lower case.
func (c *APIKeysConfig) header() string {
	if c.Header == "" {
		return "x-api-key"
	}
	return strings.ToLower(c.Header)
}

// digests are the secrets of a row that are taken side by side, by their hash.
func (r *APIKeyRow) digests() []string { return r.SHA256 }

func newAPIKey(list string, row *APIKeyRow) (*apiKey, error) {
	if !isKeyName(row.ID) {
		return nil, fmt.Errorf("the id is empty, or holds other than letters, digits and -_.@")
	}
	k := &apiKey{claims: grantedClaims(row.ID, row.Scopes, row.Claims)}
	var err error
	if k.networks, err = parseNetworks(row.CIDR); err != nil {
		return nil, err
	}
	if k.notBefore, err = units.Instant(row.NotBefore); err != nil {
		return nil, err
	}
	if k.expires, err = units.Instant(row.Expires); err != nil {
		return nil, err
	}
	k.client = pipeline.Client{Identity: KeyIdentity(list, row.ID), Subject: row.ID, Issuer: list, Claims: k.claims}
	return k, nil
}

// KeyIdentity is the text of the identity of an API key's client. Neither part can hold | or :, so it is no other key's, and
// no token's (Identity).
func KeyIdentity(list, id string) string { return list + "|" + id }

// grantedClaims are claims that the document itself gives, in the form of a token's: sub is the client's name, scope its scopes.
func grantedClaims(name string, scopes []string, more map[string]string) *claims {
	c := &claims{scopes: slices.Clone(scopes)}
	add := func(name, text string) {
		c.members = append(c.members, member{name: name, text: text, kind: jsontext.KindString, printable: printable(text)})
	}
	add("sub", name)
	if len(scopes) > 0 {
		add("scope", strings.Join(scopes, " "))
	}
	for _, name := range slices.Sorted(maps.Keys(more)) {
		add(name, more[name])
	}
	return c
}

// findKey looks a presented key up by its digest, in every list of that header. What takes time depends on digests only,
// which tell nothing about keys that are not known already.
func findKey(lists []*keyList, header string, presented digest) (found *apiKey) {
	for _, l := range lists {
		if l.header != header {
			continue
		}
		if k := l.keys[presented]; k != nil {
			found = k
		}
	}
	var known digest // of nobody: compared all the same
	if found != nil {
		known = found.digest
	}
	if subtle.ConstantTimeCompare(known[:], presented[:]) != 1 {
		return nil
	}
	return found
}

// usable judges a key that was found: its time, and where it is used from.
func (k *apiKey) usable(now time.Time, from netip.Addr) Reason {
	switch {
	case now.Before(k.notBefore):
		return APIKeyNotYet
	case !k.expires.IsZero() && !now.Before(k.expires):
		return APIKeyExpired
	case len(k.networks) > 0 && !within(k.networks, from):
		return APIKeyElsewhere
	}
	return accepted
}

func parseDigest(text string) (d digest, err error) {
	if len(text) != hex.EncodedLen(len(d)) {
		return d, fmt.Errorf("sha256 is not %d hex digits", hex.EncodedLen(len(d)))
	}
	if _, err := hex.Decode(d[:], []byte(text)); err != nil {
		return d, fmt.Errorf("sha256 is not %d hex digits", hex.EncodedLen(len(d)))
	}
	return d, nil
}

// isKeyName reports whether a text can name a list or a key.
func isKeyName(text string) bool {
	for i := range len(text) {
		c := text[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
		if !letter && strings.IndexByte("-_.@", c) < 0 {
			return false
		}
	}
	return text != ""
}
