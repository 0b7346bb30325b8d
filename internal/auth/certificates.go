package auth

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// certClient is one client of a list, told by what a certificate of one of our CAs says. It is immutable and owns its
// strings.
type certClient struct {
	names  []string // of pipeline.TLS.Names, all of which the certificate has to have
	prefix string   // of one of them; "": none is asked for
	pins   []digest // of which one is the certificate's thumbprint; none: any
	client pipeline.Client
	claims *claims
}

// certList is one list of clients, of which the first that fits is taken. It is immutable.
type certList struct {
	clients []certClient
	named   map[string][]int // by the first of their names
	others  []int            // those that ask for none
}

// newCertLists compiles client_certificates.
func newCertLists(lists map[string]ClientCertificatesConfig) (map[string]*certList, error) {
	all := make(map[string]*certList, len(lists))
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		if !isKeyName(name) {
			return nil, fmt.Errorf("client_certificates %s: the name holds other than letters, digits and -_.@", name)
		}
		l := &certList{named: map[string][]int{}}
		for i := range lists[name].Clients {
			c, err := newCertClient(name, &lists[name].Clients[i])
			if err != nil {
				return nil, fmt.Errorf("client_certificates %s: client %s: %w", name, lists[name].Clients[i].ID, err)
			}
			if len(c.names) > 0 {
				l.named[c.names[0]] = append(l.named[c.names[0]], i)
			} else {
				l.others = append(l.others, i)
			}
			l.clients = append(l.clients, c)
		}
		all[name] = l
	}
	return all, nil
}

func newCertClient(list string, row *CertificateRow) (c certClient, err error) {
	if !isKeyName(row.ID) {
		return c, fmt.Errorf("the id is empty, or holds other than letters, digits and -_.@")
	}
	if row.URI == "" && row.DNS == "" && row.Email == "" && len(row.SHA256) == 0 {
		return c, fmt.Errorf("one of uri, dns, email and sha256 is needed")
	}
	if prefix, ok := strings.CutSuffix(row.URI, "*"); ok {
		c.prefix = "uri:" + prefix
	} else if row.URI != "" {
		c.names = append(c.names, "uri:"+row.URI)
	}
	if row.DNS != "" {
		c.names = append(c.names, "dns:"+strings.ToLower(row.DNS))
	}
	if row.Email != "" {
		at := strings.LastIndexByte(row.Email, '@') + 1
		c.names = append(c.names, "email:"+row.Email[:at]+strings.ToLower(row.Email[at:]))
	}
	for _, text := range row.SHA256 {
		pin, err := parsePin(text)
		if err != nil {
			return c, err
		}
		c.pins = append(c.pins, pin)
	}
	c.claims = grantedClaims(row.ID, row.Scopes, row.Claims)
	c.client = pipeline.Client{Identity: CertificateIdentity(list, row.ID), Subject: row.ID, Issuer: list, Claims: c.claims}
	return c, nil
}

// CertificateIdentity is the text of the identity of a client of client_certificates. A token's begins with a number before
// the first colon, an API key's holds no colon.
func CertificateIdentity(list, id string) string { return "certificate:" + list + "|" + id }

// parsePin takes the fingerprint with colons, as openssl prints it, or without.
func parsePin(text string) (digest, error) {
	if strings.Count(text, ":") == len(digest{})-1 {
		bytes := strings.Split(text, ":")
		if !slices.ContainsFunc(bytes, func(b string) bool { return len(b) != 2 }) {
			text = strings.Join(bytes, "")
		}
	}
	var d digest
	if len(text) != hex.EncodedLen(len(d)) {
		return d, fmt.Errorf("sha256 is not %d hex digits", hex.EncodedLen(len(d)))
	}
	if _, err := hex.Decode(d[:], []byte(text)); err != nil {
		return d, fmt.Errorf("sha256 is not %d hex digits", hex.EncodedLen(len(d)))
	}
	return d, nil
}

// find gives the first client that a verified certificate fits; nil when it fits none.
func (l *certList) find(t *pipeline.TLS) *certClient {
	first := len(l.clients)
	look := func(places []int) {
		for _, i := range places {
			if i >= first {
				return
			}
			if l.clients[i].fits(t) {
				first = i
			}
		}
	}
	look(l.others)
	for _, name := range t.Names {
		look(l.named[name])
	}
	if first == len(l.clients) {
		return nil
	}
	return &l.clients[first]
}

func (c *certClient) fits(t *pipeline.TLS) bool {
	for _, name := range c.names {
		if !among(name, t.Names) {
			return false
		}
	}
	if c.prefix != "" && !beginsPlainly(t.Names, c.prefix) {
		return false
	}
	return len(c.pins) == 0 || slices.Contains(c.pins, t.Thumbprint)
}

// beginsPlainly reports a name below the prefix. One that could be read as another path is below none.
func beginsPlainly(names []string, prefix string) bool {
	for _, name := range names {
		if rest, ok := strings.CutPrefix(name, prefix); ok && rest != "" && plainPath(rest) {
			return true
		}
	}
	return false
}

// plainPath demands segments without escapes, none of them empty or made of dots.
func plainPath(path string) bool {
	if strings.ContainsAny(path, `%\?#`) {
		return false
	}
	for more := true; more; {
		var segment string
		if segment, path, more = strings.Cut(path, "/"); strings.Trim(segment, ".") == "" {
			return false
		}
	}
	return true
}

// byCertificate identifies by the certificate of the connection, which may outlive it: its time is checked again. CAs, chain
// and usage were the handshake's.
func (g *gate) byCertificate(t *pipeline.TLS, now time.Time) identified {
	who := identified{scheme: certificateScheme, reason: NoSuchCertificate}
	for _, l := range g.certs {
		c := l.find(t)
		if c == nil {
			continue
		}
		who.source, who.claims, who.client = c.client.Issuer, c.claims, &c.client
		who.reason = accepted
		if now.Before(t.Certificate.NotBefore) || now.After(t.Certificate.NotAfter) {
			who.reason = CertificateEnded
		}
		return who
	}
	return who
}

// shows reports that the connection has a certificate, on a route that takes some.
func (g *gate) shows(x *pipeline.Exchange) bool {
	return len(g.certs) > 0 && x.TLS != nil && x.TLS.Certificate != nil
}

// elsewhere reports, on a route that takes certificates, a request for another host than its connection was made for: what
// was agreed on in the handshake is not for it (RFC 9110, 7.4). Without SNI the host has to be an address.
func (g *gate) elsewhere(x *pipeline.Exchange) bool {
	if len(g.certs) == 0 || x.TLS == nil {
		return false
	}
	host := x.Request.Host()
	if x.TLS.ServerName == "" {
		return !isAddress(host)
	}
	return string(host) != x.TLS.ServerName
}

func isAddress(host []byte) bool {
	if len(host) > 0 && host[0] == '[' {
		return true
	}
	for _, c := range host {
		if (c < '0' || c > '9') && c != '.' {
			return false
		}
	}
	return len(host) > 0
}
