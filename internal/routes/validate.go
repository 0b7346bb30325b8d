package routes

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/oncegate/oncegate/internal/units"
)

// Validate reports what the tags can't say. Every string that passes can match some request.
func (m *Match) Validate(p units.Problems) {
	if m.Path != "" { // an empty one breaks the tag
		if _, err := parse(m.Path); err != nil {
			p.Key("path").Add("%v", err)
		}
	}
	for i, host := range m.Hosts {
		checkHost(p.Key("hosts").Index(i), host, slices.Contains(m.Hosts[:i], host))
	}
	for i, method := range m.Methods {
		checkMethod(p.Key("methods").Index(i), method, slices.Contains(m.Methods[:i], method))
	}
	checkHeaders(p.Key("headers"), m.Headers)
	if _, ok := m.Query[""]; ok {
		p.Key("query").Add("a query parameter needs a name")
	}
}

func checkHost(p units.Problems, host string, again bool) {
	name := strings.TrimPrefix(host, "*.")
	_, port, _ := strings.Cut(name, ":")
	switch {
	case again:
		p.Add("%q stands twice", host)
	case host == "*":
		p.Add("leave hosts out to match every host")
	case isIPv6(host) || isHostName(name):
	case host != strings.ToLower(host):
		p.Add("hosts are written in lower case: %q", strings.ToLower(host))
	case strings.Trim(port, "0123456789") == "" && port != "":
		p.Add("%q: hosts are compared without port", host)
	default:
		p.Add("%q is not a host name, exact or *.suffix", host)
	}
}

// isHostName takes what DNS takes, and '_', which names of services hold: RFC 1123 2.1.
func isHostName(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

func isIPv6(s string) bool {
	inner, open := strings.CutPrefix(s, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	a, err := netip.ParseAddr(inner)
	return open && closed && err == nil && a.Is6() && a.Zone() == "" && a.String() == inner
}

// knownMethods are those that someone may have written in another case. Others are taken as they are.
var knownMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

func checkMethod(p units.Problems, method string, again bool) {
	upper := strings.ToUpper(method)
	switch {
	case again:
		p.Add("%q stands twice", method)
	case upper == "CONNECT" || upper == "TRACE":
		p.Add("%s is never passed on", upper)
	case !isToken(method):
		p.Add("%q is not a method", method)
	case method != upper && slices.Contains(knownMethods, upper):
		p.Unknown("method", method, knownMethods)
	}
}

func checkHeaders(p units.Problems, headers map[string]string) {
	seen := make(map[string]bool, len(headers))
	for _, c := range conditions(headers) {
		low := strings.ToLower(c.name)
		switch {
		case !isToken(c.name):
			p.Key(c.name).Add("%q is not the name of a header field", c.name)
		case strings.Contains(c.name, "_"):
			p.Key(c.name).Add("request fields with _ in their name are dropped: this route would never match")
		case seen[low]:
			p.Key(c.name).Add("%q stands twice: names of fields are compared without case", c.name)
		case !isFieldValue(c.value):
			p.Key(c.name).Add("no header field can have this value")
		}
		seen[low] = true
	}
}

// isToken is the token of RFC 9110 5.6.2.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		alnum := c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// isFieldValue leaves out control bytes and the blanks around a value, which never arrive: RFC 9110 5.5.
func isFieldValue(s string) bool {
	return s == strings.Trim(s, " \t") && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
