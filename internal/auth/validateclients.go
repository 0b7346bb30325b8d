package auth

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/oncegate/oncegate/internal/auth/password"
	"github.com/oncegate/oncegate/internal/units"
)

// Validate finds clients that no certificate could fit, or that an earlier one always takes.
func (c *ClientCertificatesConfig) Validate(p units.Problems) {
	validateListName(p, "client_certificates")
	if len(c.Clients) == 0 {
		p.Missing("clients", "the list holds no client: nobody could ever pass")
	}
	ids := map[string]bool{}
	for i := range c.Clients {
		row, at := &c.Clients[i], p.Key("clients").Index(i)
		row.validate(at)
		if ids[row.ID] {
			at.Key("id").Add("client %q stands here twice", row.ID)
		}
		ids[row.ID] = true
		for j := range c.Clients[:i] {
			if c.Clients[j].covers(row) {
				at.Add("no certificate ever gets here: client %s takes all that would fit", c.Clients[j].ID)
				break
			}
		}
	}
}

func validateListName(p units.Problems, table string) {
	if name, ok := strings.CutPrefix(p.Path(), table+"."); ok && !isKeyName(name) {
		p.Add("%q is not the name of a list: letters, digits and -_.@", name)
	}
}

// covers reports that whatever fits other fits the row.
func (r *CertificateRow) covers(other *CertificateRow) bool {
	prefix, open := strings.CutSuffix(r.URI, "*")
	uri := r.URI == "" || r.URI == other.URI || open && strings.HasPrefix(other.URI, prefix)
	dns := r.DNS == "" || strings.EqualFold(r.DNS, other.DNS)
	email := r.Email == "" || r.Email == other.Email
	pins := len(r.SHA256) == 0 || len(other.SHA256) > 0 && !slices.ContainsFunc(other.SHA256, func(pin string) bool { return !slices.Contains(r.SHA256, pin) })
	return uri && dns && email && pins
}

func (r *CertificateRow) validate(p units.Problems) {
	if !isKeyName(r.ID) {
		p.Key("id").Add("%q is not an id: letters, digits and -_.@", r.ID)
	}
	if r.URI == "" && r.DNS == "" && r.Email == "" && len(r.SHA256) == 0 {
		p.Missing("uri", "nothing tells this client: one of uri, dns, email and sha256 is needed")
	}
	if r.URI != "" {
		validateSANURI(r.URI, p.Key("uri"))
	}
	if r.DNS != "" && (strings.ContainsAny(r.DNS, "*/:@ ") || strings.Trim(r.DNS, ".") != r.DNS || !printable(r.DNS)) {
		p.Key("dns").Add("%q is not a host name as it stands in a certificate; wildcards tell no client", r.DNS)
	}
	if at := strings.LastIndexByte(r.Email, '@'); r.Email != "" && (at < 1 || at == len(r.Email)-1 || strings.ContainsAny(r.Email, "* ") || !printable(r.Email)) {
		p.Key("email").Add("%q is not an address such as ops@example.com", r.Email)
	}
	for _, text := range r.SHA256 {
		if _, err := parsePin(text); err != nil {
			p.Key("sha256").Add("%q is not a SHA-256 fingerprint of 64 hex digits: openssl x509 -in client.pem -noout -fingerprint -sha256", text)
		}
	}
	validateOwn(r.Scopes, r.Claims, p)
}

// validateSANURI: a prefix has to end a name, or spiffe://acme* would take spiffe://acme.evil/.
func validateSANURI(text string, p units.Problems) {
	prefix, open := strings.CutSuffix(text, "*")
	u, err := url.Parse(prefix)
	switch {
	case err != nil || u.Scheme == "" || u.String() != prefix || !printable(text) || strings.Contains(prefix, "*"):
		p.Add("%q is not a URI as it stands in a certificate, such as spiffe://example.com/orders", text)
	case open && (u.Host == "" || u.Path == "" || !strings.HasSuffix(prefix, "/")):
		p.Add("a prefix ends with /*, after the host: spiffe://example.com/*")
	}
}

// validateOwn checks scopes and claims that the document itself gives to a client.
func validateOwn(scopes []string, claims map[string]string, p units.Problems) {
	for i, scope := range scopes {
		if !isScope(scope) {
			p.Key("scopes").Index(i).Add("%q is not a scope: one word of printable ASCII without quotes and backslashes", scope)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		if slices.Contains(claimsOfTokens, name) {
			p.Key("claims").Key(name).Add("claim %s can't be given here: it comes from the client's name and scopes, or belongs to tokens", name)
		}
	}
}

// Validate finds hashes that can't be used, and names that nobody could send.
func (c *BasicUsersConfig) Validate(p units.Problems) {
	validateListName(p, "basic_users")
	if len(c.Users) == 0 {
		p.Missing("users", "the list holds no user: nobody could ever pass")
	}
	names := map[string]bool{}
	for i := range c.Users {
		row, at := &c.Users[i], p.Key("users").Index(i)
		if !isUserName(row.Name) {
			at.Key("name").Add("%q is not a user name: at most %d bytes without colon, control characters and outer spaces", row.Name, maxUserName)
		} else if names[row.Name] {
			at.Key("name").Add("user %q stands here twice", row.Name)
		}
		names[row.Name] = true
		if hash := row.Hash.Reveal(); hash != "" {
			if _, err := password.Parse(hash); err != nil {
				at.Key("hash").Add("the hash %s; gateway hash makes one", err)
			}
		}
		validateOwn(row.Scopes, row.Claims, at)
	}
}
