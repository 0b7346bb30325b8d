package auth

import (
	"fmt"

	"github.com/oncegate/oncegate/internal/auth/dpop"
	"github.com/oncegate/oncegate/internal/units"
)

// IssuerConfig is one entry of issuers: who signs tokens and how they are checked.
type IssuerConfig struct {
	Issuer     string       `yaml:"issuer" required:"true" nonempty:"true" doc:"The exact iss claim."`
	Audiences  []string     `yaml:"audiences" required:"true" nonempty:"true" doc:"One of these must stand in aud."`
	JWKS       string       `yaml:"jwks" doc:"URL of the key set; https, or http on loopback."`
	Discovery  bool         `yaml:"discovery" doc:"Find the key set by OpenID discovery: in the document below the issuer's URL."`
	JWKSHosts  []string     `yaml:"jwks_hosts" nonempty:"true" doc:"With discovery: other hosts than the issuer's own that the key set may be on, as host or host:port."`
	Keys       []string     `yaml:"keys" nonempty:"true" doc:"Files with public keys: PEM or JWKS."`
	Secret     units.Secret `yaml:"secret" doc:"The shared secret of HS256, HS384 or HS512; at least as long as the hash."`
	Algorithms []string     `yaml:"algorithms" nonempty:"true" doc:"Signature algorithms accepted, all of one family. Obligatory, but with introspection, which checks no signature."`

	Introspection *IntrospectionConfig `yaml:"introspection" doc:"Ask the authorization server about each token (RFC 7662), in place of keys."`

	Leeway      units.Duration `yaml:"leeway" default:"30s" max:"2m" doc:"Tolerance for clocks."`
	MaxLifetime units.Duration `yaml:"max_lifetime" default:"24h" min:"1s" doc:"Longest time between iat and exp."`
	Typ         string         `yaml:"typ" doc:"Demanded typ of the token header, such as at+jwt."`
	Revocation  bool           `yaml:"revocation" doc:"Check the deny list of token ids and subjects."`
	DPoP        *dpop.Config   `yaml:"dpop" doc:"Proofs of possession (RFC 9449). Without it, tokens that are bound to a key (cnf.jkt) are refused."`
}

// IntrospectionConfig is where tokens are asked about.
type IntrospectionConfig struct {
	URL          string         `yaml:"url" required:"true" nonempty:"true" doc:"The endpoint; https, or http on loopback."`
	ClientID     string         `yaml:"client_id" required:"true" nonempty:"true" doc:"What the gateway is called there."`
	ClientSecret units.Secret   `yaml:"client_secret" required:"true" nonempty:"true" doc:"Its password there, sent as Basic."`
	Timeout      units.Duration `yaml:"timeout" default:"2s" min:"10ms" max:"30s" doc:"How long an answer may take; then requests are 503."`
	Keep         units.Duration `yaml:"keep" default:"60s" max:"5m" doc:"How long an answer is believed, but never beyond exp; no for 10s at most. 0s: ask for each request."`
	CA           string         `yaml:"ca" doc:"File of trusted roots; by default those of the system."`
}

// APIKeysConfig is one entry of api_keys.
type APIKeysConfig struct {
	Header string      `yaml:"header" default:"X-Api-Key" doc:"The header that carries the key."`
	Keys   []APIKeyRow `yaml:"keys" doc:"The keys, by their hash."`
}

// APIKeyRow is one key.
type APIKeyRow struct {
	ID     string            `yaml:"id" required:"true" doc:"Shown in logs; the client's name."`
	SHA256 OneOrMany         `yaml:"sha256" required:"true" nonempty:"true" doc:"SHA-256 of the key, in hex; two while the client changes over to another."`
	Scopes []string          `yaml:"scopes" doc:"Scopes that the key has."`
	Claims map[string]string `yaml:"claims" doc:"Claims that the key has."`

	NotBefore string   `yaml:"not_before" doc:"When the key begins to be taken: 2027-01-31 or 2027-01-31T08:00:00Z."`
	Expires   string   `yaml:"expires" doc:"When the key ends: 2027-01-31 or 2027-01-31T08:00:00Z."`
	CIDR      []string `yaml:"cidr" nonempty:"true" doc:"Networks that the client may come from: 192.0.2.0/24."`
}

// ClientCertificatesConfig is one entry of client_certificates.
type ClientCertificatesConfig struct {
	Clients []CertificateRow `yaml:"clients" doc:"The clients, by what their certificates say; the first that fits is taken."`
}

// CertificateRow is one client. Whatever is given of uri, dns, email and sha256 has to be true of its certificate.
type CertificateRow struct {
	ID     string            `yaml:"id" required:"true" doc:"Shown in logs; the client's name."`
	URI    string            `yaml:"uri" doc:"A URI of its subject alternative names: spiffe://example.com/orders, or all below spiffe://example.com/*."`
	DNS    string            `yaml:"dns" doc:"A DNS name of its subject alternative names."`
	Email  string            `yaml:"email" doc:"An e-mail address of its subject alternative names."`
	SHA256 OneOrMany         `yaml:"sha256" nonempty:"true" doc:"SHA-256 fingerprint of the certificate, in hex; two while the client changes over to another."`
	Scopes []string          `yaml:"scopes" doc:"Scopes that the client has."`
	Claims map[string]string `yaml:"claims" doc:"Claims that the client has."`
}

// BasicUsersConfig is one entry of basic_users.
type BasicUsersConfig struct {
	Users  []BasicUserRow `yaml:"users" doc:"The users, with hashes of their passwords."`
	AtOnce int            `yaml:"at_once" default:"2" min:"1" max:"64" doc:"Passwords that are hashed at the same time; others wait up to a second and are then answered 503. What is known to be right is not hashed again for five minutes."`
}

// BasicUserRow is one user.
type BasicUserRow struct {
	Name   string            `yaml:"name" required:"true" doc:"The name that is sent; shown in logs."`
	Hash   units.Secret      `yaml:"hash" required:"true" nonempty:"true" doc:"Hash of the password: argon2id ($argon2id$v=19$m=19456,t=2,p=1$...; gateway hash makes one) or bcrypt ($2a$, $2b$, $2y$) of cost 10 to 14."`
	Scopes []string          `yaml:"scopes" doc:"Scopes that the user has."`
	Claims map[string]string `yaml:"claims" doc:"Claims that the user has."`
}

// Config is a route's auth. Exactly one way must be written: silence is an error.
type Config struct {
	None    bool     `yaml:"-"`
	Issuers []string `yaml:"issuers" nonempty:"true" doc:"Issuers whose tokens are taken."`
	APIKeys []string `yaml:"api_keys" nonempty:"true" doc:"Key lists that are taken."`

	Certificates []string `yaml:"certificates" nonempty:"true" doc:"Lists of client_certificates that are taken. A token, a key or a password that is sent counts in place of the certificate."`
	Basic        []string `yaml:"basic" nonempty:"true" doc:"Lists of basic_users that are taken."`

	Optional bool    `yaml:"optional" doc:"No credential is anonymous; a bad one is still refused."`
	Require  Require `yaml:"require" doc:"What the verified client must have."`
}

// Require is what a verified client must have, all of it.
type Require struct {
	Scopes []string `yaml:"scopes" nonempty:"true" doc:"Scopes that must all be there."`

	AnyScope   []string              `yaml:"any_scope" nonempty:"true" doc:"Scopes of which one must be there."`
	Roles      *RoleRule             `yaml:"roles" doc:"Roles in a claim."`
	Claims     map[string]ClaimMatch `yaml:"claims" nonempty:"true" doc:"Claims and what they must be: a value, a list of values, or a mapping."`
	CIDR       []string              `yaml:"cidr" nonempty:"true" doc:"Networks that the client must come from: 10.0.0.0/8."`
	Methods    []string              `yaml:"methods" nonempty:"true" doc:"Methods that the client may use."`
	ACR        []string              `yaml:"acr" nonempty:"true" doc:"Kinds of login, claim acr, of which it must have been one (RFC 9470)."`
	MaxAge     units.Duration        `yaml:"max_age" doc:"How long ago the login, claim auth_time, may be (RFC 9470)."`
	Expression string                `yaml:"expression" nonempty:"true" doc:"A rule in CEL that must give true; an error denies."`
}

// RoleRule names roles and the claim that lists them.
type RoleRule struct {
	Claim string   `yaml:"claim" required:"true" nonempty:"true" doc:"Path of the claim: dots go into objects; a name with :// is one name; a path that begins with / is a JSON pointer (RFC 6901)."`
	Any   []string `yaml:"any" nonempty:"true" doc:"Roles of which one must be there."`
	All   []string `yaml:"all" nonempty:"true" doc:"Roles that must all be there."`
}

// ClaimMatch is what a claim must be, all of it; of a list, one element has to be it.
type ClaimMatch struct {
	In     OneOrMany `yaml:"in" nonempty:"true" doc:"The values it may have."`
	Prefix OneOrMany `yaml:"prefix" nonempty:"true" doc:"The beginnings that its text may have. A prefix of a URL or a name should hold its last separator."`
}

// OneOrMany is a list that may be written as one word.
type OneOrMany []string

// ForwardConfig is what of the client's identity goes upstream.
type ForwardConfig struct {
	Claims        map[string]string `yaml:"claims" doc:"Headers and the claims that fill them; a client can never set these itself."`
	Authorization bool              `yaml:"authorization" default:"false" doc:"Pass the client's Authorization on, and the proof (DPoP) beside it."`

	Token *TokenConfig `yaml:"token" doc:"Send the gateway's own signed token that says who the client is; needs internal_token."`

	APIKey bool `yaml:"api_key" default:"false" doc:"Pass the client's API key on."`
}

// FromScalar takes the word none.
func (c *Config) FromScalar(text string) error {
	if text != "none" {
		return fmt.Errorf("unknown auth %q: write none, or a mapping with issuers", text)
	}
	c.None = true
	return nil
}

// FromScalar takes one value.
func (o *OneOrMany) FromScalar(text string) error { *o = OneOrMany{text}; return nil }

// FromScalar takes one value that the claim has to be.
func (m *ClaimMatch) FromScalar(text string) error { m.In = OneOrMany{text}; return nil }

// ListKey names the key that a list stands for.
func (*ClaimMatch) ListKey() string { return "in" }
