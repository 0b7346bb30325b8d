// Package vault reads secrets from HashiCorp Vault and OpenBao: version 2 of the key-value engine, over their HTTP API.
//
// It promises that a secret never stands in an error, that nobody but the configured server is asked (no redirects, no
// proxy of the environment), and that every call has an end. It keeps no secrets: who asks twice asks the server twice.
// When the server fails, the error says so, and the caller decides what goes on.
package vault

import (
	"errors"
	"net"
	"net/url"
	"strings"

	"github.com/oncegate/oncegate/internal/units"
)

// Config is one entry of vaults.
type Config struct {
	Address    string         `yaml:"address" required:"true" nonempty:"true" doc:"URL of the server; https, or http on loopback."`
	Namespace  string         `yaml:"namespace" doc:"The namespace, of editions that have them."`
	Mount      string         `yaml:"mount" default:"secret" nonempty:"true" doc:"Where the key-value engine, version 2, is mounted."`
	CA         string         `yaml:"ca" doc:"File of trusted roots in PEM form; by default the system's."`
	Timeout    units.Duration `yaml:"timeout" default:"5s" min:"100ms" max:"30s" doc:"One call."`
	Refresh    units.Duration `yaml:"refresh" default:"5m" min:"1s" doc:"How often the secrets are read again; a change reloads the document."`
	Token      units.Secret   `yaml:"token" doc:"The token to ask with; it is renewed with each refresh when it can be."`
	AppRole    *AppRole       `yaml:"approle" doc:"Log in as an application, in place of a token."`
	Kubernetes *Kubernetes    `yaml:"kubernetes" doc:"Log in with the token of a service account, in place of a token."`
}

// AppRole is a login by role id and secret id.
type AppRole struct {
	RoleID   string       `yaml:"role_id" required:"true" nonempty:"true" doc:"The role's id."`
	SecretID units.Secret `yaml:"secret_id" required:"true" nonempty:"true" doc:"The secret id."`
	Mount    string       `yaml:"mount" default:"approle" nonempty:"true" doc:"Where the method is mounted."`
}

// Kubernetes is a login by the token of a service account.
type Kubernetes struct {
	Role    string `yaml:"role" required:"true" nonempty:"true" doc:"The role at the server."`
	JWTFile string `yaml:"jwt_file" default:"/var/run/secrets/kubernetes.io/serviceaccount/token" nonempty:"true" doc:"File with the service account's token; read at each login."`
	Mount   string `yaml:"mount" default:"kubernetes" nonempty:"true" doc:"Where the method is mounted."`
}

// Validate finds what tags can't say: a server that can be trusted, and exactly one way to log in.
func (c *Config) Validate(p units.Problems) {
	if c.Address != "" {
		if err := checkAddress(c.Address); err != nil {
			p.Key("address").Add("%s", err)
		}
	}
	checkMount(c.Mount, p.Key("mount"))
	ways := 0
	for _, given := range []bool{c.Token != "", c.AppRole != nil, c.Kubernetes != nil} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		p.Missing("token", "exactly one of token, approle and kubernetes is needed: %d are there", ways)
	}
	if c.AppRole != nil {
		checkMount(c.AppRole.Mount, p.Key("approle").Key("mount"))
	}
	if c.Kubernetes != nil {
		checkMount(c.Kubernetes.Mount, p.Key("kubernetes").Key("mount"))
	}
	if strings.ContainsFunc(c.Namespace+c.Token.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }) {
		p.Add("namespace and token can hold visible ASCII only: they are sent in header fields")
	}
}

func checkAddress(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "":
		return errors.New("is not a URL such as https://vault.example.com:8200")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return errors.New("is only scheme, host and port of the server")
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return errors.New("secrets are read over https, or over http from loopback only")
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

func checkMount(mount string, p units.Problems) {
	if mount != "" && !isPath(mount) {
		p.Add("%q is not a path such as secret or team/kv", mount)
	}
}

// Ref names one field of one secret: main/path/to/secret#field.
type Ref struct{ Vault, Path, Field string }

// String is the reference as the document writes it.
func (r Ref) String() string { return "${vault:" + r.Vault + "/" + r.Path + "#" + r.Field + "}" }

// ParseRef reads what stands after "vault:".
func ParseRef(text string) (Ref, error) {
	place, field, _ := strings.Cut(text, "#")
	name, path, _ := strings.Cut(place, "/")
	if name == "" || field == "" || !isPath(path) || strings.ContainsFunc(field, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return Ref{}, errors.New("a secret of a vault is written ${vault:NAME/path/to/secret#field}")
	}
	return Ref{name, path, field}, nil
}

// isPath takes names with slashes between them; nothing that a server or a proxy could take for another path.
func isPath(path string) bool {
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsFunc(part, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`\%?#`, r) }) {
			return false
		}
	}
	return true
}
