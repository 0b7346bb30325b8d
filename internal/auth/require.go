package auth

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/oncegate/oncegate/internal/pipeline"

	"github.com/go-json-experiment/json/jsontext"
)

// rule is one compiled demand of a route on a verified client. Its words are for explain and the log; a client learns the
// refusal only.
type rule struct {
	reason    Reason
	words     string
	matcher   matcher
	challenge []byte // nil: the reason's
}

// matcher judges one request of a verified client. It allocates nothing, and what it does not understand does not match.
type matcher interface {
	matches(x *pipeline.Exchange, c *claims) bool
}

// Expression is a compiled rule of an expression language. An error denies, as false does. Why says what it gives and why,
// for the operator only.
type Expression interface {
	Allows(x *pipeline.Exchange, claims Values) (bool, error)
	Why(x *pipeline.Exchange, claims Values) string
}

// ruleset collects rules.
type ruleset struct{ rules []rule }

func (s *ruleset) add(m matcher, reason Reason, format string, args ...any) {
	s.rules = append(s.rules, rule{reason, fmt.Sprintf(format, args...), m, nil})
}

// newRules compiles what a route demands, apart from its scopes. The rules that look at the request alone come first.
func newRules(r Require, compile func(text string) (Expression, error)) ([]rule, error) {
	s := &ruleset{}
	if len(r.Methods) > 0 {
		s.add(methodRule(r.Methods), WrongMethod, "method is %s", strings.Join(r.Methods, " or "))
	}
	if len(r.CIDR) > 0 {
		networks, err := parseNetworks(r.CIDR)
		if err != nil {
			return nil, err
		}
		s.add(networkRule(networks), WrongAddress, "address is in %s", strings.Join(r.CIDR, " or "))
	}
	s.claims(r)
	if err := s.roles(r.Roles); err != nil {
		return nil, err
	}
	if len(r.ACR) > 0 || r.MaxAge > 0 {
		s.rules = append(s.rules, newLoginRule(r))
	}
	if r.Expression == "" {
		return s.rules, nil
	}
	if compile == nil {
		return nil, fmt.Errorf("this build knows no expressions")
	}
	e, err := compile(r.Expression)
	if err != nil {
		return nil, fmt.Errorf("expression: %w", err)
	}
	s.add(expressionRule{e}, RuleDenies, "expression %s is true", r.Expression)
	return s.rules, nil
}

func (s *ruleset) claims(r Require) {
	for _, name := range slices.Sorted(maps.Keys(r.Claims)) {
		m := r.Claims[name]
		if len(m.In) > 0 {
			s.add(claimRule{name, m.In}, MissingClaim, "claim %s is %s", name, strings.Join(m.In, " or "))
		}
		if len(m.Prefix) > 0 {
			s.add(prefixRule{name, m.Prefix}, MissingClaim, "claim %s begins with %s", name, strings.Join(m.Prefix, " or "))
		}
	}
}

func (s *ruleset) roles(r *RoleRule) error {
	if r == nil {
		return nil
	}
	path, err := parsePath(r.Claim)
	if err != nil {
		return err
	}
	if len(r.All) > 0 {
		s.add(roleRule{path, r.All, true}, MissingRole, "claim %s lists %s", r.Claim, strings.Join(r.All, " and "))
	}
	if len(r.Any) > 0 {
		s.add(roleRule{path, r.Any, false}, MissingRole, "claim %s lists %s", r.Claim, strings.Join(r.Any, " or "))
	}
	return nil
}

type methodRule []string

func (methods methodRule) matches(x *pipeline.Exchange, _ *claims) bool {
	got := x.Request.Method()
	for _, method := range methods {
		if string(got) == method {
			return true
		}
	}
	return false
}

type networkRule []netip.Prefix

func (networks networkRule) matches(x *pipeline.Exchange, _ *claims) bool {
	return within(networks, x.ClientIP)
}

// within reports whether an address is in one of the networks. An IPv4 address is the same inside IPv6; an address that
// nobody knows is in none.
func within(networks []netip.Prefix, address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	for _, network := range networks {
		if network.Contains(address) {
			return true
		}
	}
	return false
}

// parseNetworks reads networks, and single addresses as networks of one. Host bits have to be zero: 10.0.0.1/8 could mean
// two things.
func parseNetworks(texts []string) ([]netip.Prefix, error) {
	networks := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		network, err := netip.ParsePrefix(text)
		if address, alone := netip.ParseAddr(text); alone == nil && address.Zone() == "" {
			network, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		if err != nil || network != network.Masked() || network.Addr().Is4In6() {
			return nil, fmt.Errorf("%q is not a network such as 192.0.2.0/24 or 2001:db8::/32", text)
		}
		networks = append(networks, network)
	}
	return networks, nil
}

// claimRule demands that a claim, or any scalar of a list, is one of the values.
type claimRule struct {
	name   string
	values []string
}

func (r claimRule) matches(_ *pipeline.Exchange, c *claims) bool {
	return c.find(r.name).isOneOf(r.values)
}

// prefixRule demands that a claim that is text, or one of a list of texts, begins with one of the prefixes.
type prefixRule struct {
	name     string
	prefixes []string
}

func (r prefixRule) matches(_ *pipeline.Exchange, c *claims) bool {
	m := c.find(r.name)
	switch {
	case m == nil:
		return false
	case m.kind == jsontext.KindString:
		return r.fits(m.text)
	case m.kind == jsontext.KindBeginArray && m.words:
		return slices.ContainsFunc(m.list, r.fits)
	}
	return false
}

func (r prefixRule) fits(text string) bool {
	for _, prefix := range r.prefixes {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return false
}

// roleRule demands one or all of some roles of a claim that is a list of texts, or one text.
type roleRule struct {
	path  []string
	roles []string
	all   bool
}

func (r roleRule) matches(_ *pipeline.Exchange, c *claims) bool {
	m := c.at(r.path)
	if m == nil || m.kind != jsontext.KindString && !m.words {
		return false
	}
	for _, role := range r.roles {
		if has := m.text == role && m.kind == jsontext.KindString || among(role, m.list); has != r.all {
			return has
		}
	}
	return r.all
}

type expressionRule struct{ expression Expression }

func (r expressionRule) matches(x *pipeline.Exchange, c *claims) bool {
	allowed, err := r.expression.Allows(x, c)
	return err == nil && allowed
}

// parsePath reads the path of a claim: dots go into objects, a name with :// is one name (namespaced claims are URLs), and
// what begins with / is a JSON pointer (RFC 6901), which can say any name.
func parsePath(text string) ([]string, error) {
	path := []string{text}
	switch pointer, ok := strings.CutPrefix(text, "/"); {
	case ok:
		path = strings.Split(pointer, "/")
		for i, name := range path {
			if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(name), "~") {
				return nil, fmt.Errorf("%q is not a JSON pointer: ~ stands before 0 or 1 only", text)
			}
			path[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
		}
		return path, nil
	case !strings.Contains(text, "://"):
		path = strings.Split(text, ".")
	}
	if slices.Contains(path, "") || len(path) > maxDepth {
		return nil, fmt.Errorf("%q is not the path of a claim", text)
	}
	return path, nil
}
