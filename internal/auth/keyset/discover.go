package keyset

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// MaxDiscovery bounds the document of a provider, in bytes.
const MaxDiscovery = 64 << 10

const wellKnown = "/.well-known/openid-configuration"

// CheckIssuer takes an iss that is a URL below which a provider's document stands (OpenID Connect Discovery 1.0, sections 3
// and 4): https, or http on loopback, without query and fragment.
func CheckIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.Hostname() == "" {
		return errors.New("discovery needs an issuer that is a URL such as https://id.example.com/")
	}
	if u.User != nil || u.Fragment != "" || u.RawQuery != "" || u.ForceQuery || strings.HasSuffix(issuer, "#") {
		return errors.New("discovery needs an issuer without user name, query and fragment")
	}
	if !fetchable(u) {
		return errors.New("discovery is done over https, or over http from loopback only")
	}
	return nil
}

// CheckHost takes what stands in a URL between the slashes: id.example.com, [::1] or id.example.com:8443.
func CheckHost(host string) error {
	u, err := url.Parse("https://" + host)
	if err != nil || host == "" || u.Host != host || u.Hostname() == "" || u.User != nil || strings.ContainsAny(host, "*/ ") {
		return errors.New("not a host such as keys.example.com or keys.example.com:8443")
	}
	return nil
}

// provider is where a document tells the URL of the key set, and whom it may name.
type provider struct {
	issuer string
	hosts  []string // of key sets, besides the issuer's own
}

// locate fetches the provider's document and gives the URL of its key set. It is fetched anew with every key set, so that a
// provider may move its keys; nothing of a document outlives the fetch.
func (r *Remote) locate(ctx context.Context) (string, error) {
	p, err := r.get(ctx, source{url: strings.TrimSuffix(r.provider.issuer, "/") + wellKnown, what: "discovery document", accept: "application/json", max: MaxDiscovery})
	if err != nil {
		return "", err
	}
	return r.provider.read(p.body)
}

// read judges a document. Its issuer must be the configured one to the letter (section 4.3): another one could sign for ours
// else. Errors quote nothing of it but its issuer.
func (p *provider) read(body []byte) (string, error) {
	var document struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if json.Unmarshal(body, &document) != nil {
		return "", errors.New("the discovery document is not a JSON object with issuer and jwks_uri")
	}
	if document.Issuer != p.issuer {
		return "", fmt.Errorf("the discovery document is of the issuer %.200q, not of the configured one", document.Issuer)
	}
	if CheckURL(document.Keys) != nil {
		return "", errors.New("jwks_uri of the discovery document is no URL that keys are fetched from")
	}
	u, _ := url.Parse(document.Keys)
	own, _ := url.Parse(p.issuer)
	if u.Scheme != own.Scheme && u.Scheme != "https" {
		return "", errors.New("jwks_uri of the discovery document leads from https to http")
	}
	if at := address(u); at != address(own) && !slices.ContainsFunc(p.hosts, func(host string) bool { return at == address(&url.URL{Scheme: u.Scheme, Host: host}) }) {
		return "", fmt.Errorf("jwks_uri of the discovery document is on the host %.200q, which is neither the issuer's nor in jwks_hosts", u.Host)
	}
	return document.Keys, nil
}

// address is host and port in one spelling.
func address(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "http":
		port = "80"
	default:
		port = "443"
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
