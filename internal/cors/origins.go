package cors

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// maxOrigin is longer than every origin with a host name that DNS takes.
const maxOrigin = 300

// origins are the sites of one policy. It is immutable.
type origins struct {
	every bool
	exact map[string]struct{}
	below []subtree
}

// subtree is every host with at least one label before suffix: "https://" and ".example.com:8443".
type subtree struct{ scheme, suffix string }

// newOrigins reads the words of a document.
func newOrigins(texts []string) (*origins, error) {
	o := &origins{exact: make(map[string]struct{}, len(texts))}
	for _, text := range texts {
		if text == "*" {
			o.every = true
			continue
		}
		if err := checkOrigin(text); err != nil {
			return nil, err
		}
		if scheme, host, _ := strings.Cut(text, "://"); host[0] == '*' {
			o.below = append(o.below, subtree{scheme + "://", host[1:]})
			continue
		}
		o.exact[text] = struct{}{}
	}
	return o, nil
}

// allow compares byte by byte: browsers write an origin in one form only, in lower case and without its default port. What
// is longer than an origin can be, null and everything that is no origin is not in the list.
func (o *origins) allow(origin []byte) bool {
	if o.every {
		return true
	}
	if len(origin) > maxOrigin {
		return false
	}
	if _, ok := o.exact[string(origin)]; ok {
		return true
	}
	for i := range o.below {
		if o.below[i].holds(origin) {
			return true
		}
	}
	return false
}

// holds wants whole labels between scheme and suffix, so that neither https://evilexample.com nor user@, ports or paths pass.
func (s *subtree) holds(origin []byte) bool {
	end := len(origin) - len(s.suffix)
	if end <= len(s.scheme) || string(origin[:len(s.scheme)]) != s.scheme || string(origin[end:]) != s.suffix {
		return false
	}
	return labels(origin[len(s.scheme):end])
}

// labels are a, a.b and so on: letters in lower case, digits, '-' and '_', none of them empty.
func labels[T string | []byte](text T) bool {
	if len(text) == 0 || len(text) > 253 {
		return false
	}
	size := 0
	for i := range len(text) {
		switch c := text[i]; {
		case c == '.':
			if size == 0 {
				return false
			}
			size = 0
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_':
			if size++; size > 63 {
				return false
			}
		default:
			return false
		}
	}
	return size > 0
}

var errShape = errors.New("an origin is scheme://host or scheme://host:port, such as https://app.example.com")

// checkOrigin says what is wrong with an origin of the document, or with a pattern whose leftmost label is *.
func checkOrigin(text string) error {
	scheme, rest, ok := strings.Cut(text, "://")
	switch {
	case text == "null":
		return errors.New("null is the origin of every sandboxed page and local file: it can't be allowed")
	case strings.ContainsFunc(text, func(r rune) bool { return r > '~' }):
		return fmt.Errorf("%q: browsers send names in ASCII, with xn-- for other letters", text)
	case text != strings.ToLower(text):
		return fmt.Errorf("%q: browsers send origins in lower case: write %s", text, strings.ToLower(text))
	case !ok || !isScheme(scheme) || rest == "":
		return fmt.Errorf("%q: %w", text, errShape)
	case strings.ContainsAny(rest, "/?#@"):
		return fmt.Errorf("%q: an origin has no path and no user; not even a slash at its end", text)
	}
	host, port, err := splitPort(rest)
	if err == nil {
		err = checkPort(scheme, port)
	}
	if err == nil {
		err = checkHost(host)
	}
	if err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	return nil
}

func isScheme(text string) bool {
	for i := range len(text) {
		c := text[i]
		if !(c >= 'a' && c <= 'z') && (i == 0 || !(c >= '0' && c <= '9') && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return text != ""
}

// splitPort keeps the brackets of an IPv6 address.
func splitPort(rest string) (host, port string, err error) {
	i := strings.LastIndexByte(rest, ':')
	if i < 0 || strings.HasSuffix(rest, "]") {
		return rest, "", nil
	}
	if i == len(rest)-1 {
		return "", "", errShape
	}
	return rest[:i], rest[i+1:], nil
}

func checkPort(scheme, port string) error {
	if port == "" {
		return nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || n == 0 || port != strconv.FormatUint(n, 10):
		return fmt.Errorf("%q is not a port", port)
	case scheme == "https" && n == 443 || scheme == "http" && n == 80:
		return fmt.Errorf("browsers leave the port %s of %s out: leave it out, too", port, scheme)
	}
	return nil
}

func checkHost(host string) error {
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, closed := strings.CutSuffix(inner, "]")
		a, err := netip.ParseAddr(inner)
		if err != nil || !closed || !a.Is6() || a.Zone() != "" || a.String() != inner {
			return errors.New("the address in brackets is not IPv6 in its short form, such as [2001:db8::1]")
		}
		return nil
	}
	name, pattern := strings.CutPrefix(host, "*.")
	switch {
	case strings.Contains(name, "*"):
		return errors.New("* stands for whole labels at the left, as in https://*.example.com, and nowhere else")
	case !labels(name):
		return errShape
	case pattern && !strings.Contains(name, ".") && name != "localhost":
		return errors.New("below a single label is everybody: name at least two, as in https://*.example.com")
	}
	return nil
}
