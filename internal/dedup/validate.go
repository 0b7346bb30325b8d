package dedup

import (
	"net/url"
	"slices"
	"strings"

	"github.com/oncegate/oncegate/internal/answer"
	"github.com/oncegate/oncegate/internal/units"
)

const clientSubject = "subject"

// Fields that differ between two attempts of one client, or that are no identity.
var (
	noIdentity = []string{"authorization", "proxy-authorization", "cookie", "forwarded", "x-forwarded-for", "x-real-ip", "x-request-id", "idempotency-key"}
	neverSame  = []string{"authorization", "proxy-authorization", "date", "x-request-id", "traceparent", "tracestate", "idempotency-key"}
)

// Validate adds what the tags can't say.
func (c *Config) Validate(p units.Problems) {
	if c.Client != clientSubject {
		name, ok := strings.CutPrefix(c.Client, "header:")
		switch {
		case !ok:
			p.Key("client").Add("%q is neither subject nor header:X-Name", c.Client)
		case !isToken(name):
			p.Key("client").Add("%q is not the name of a header", name)
		case slices.Contains(noIdentity, strings.ToLower(name)):
			p.Key("client").Add("%s does not say whose key it is: it may change between two attempts, or anybody may send it", name)
		}
	}
	if c.Keep.Key < c.Keep.Answer {
		p.Key("keep").Add("a key must be kept at least as long as its answer: key is %s, answer is %s", c.Keep.Key, c.Keep.Answer)
	}
	if c.ForwardKey == "none" && c.UpstreamDedup {
		p.Key("upstream_dedup").Add("needs the upstream to see the key: forward_key is none")
	}
	if c.ForwardKey == "none" && c.StatusCheck != nil {
		p.Key("status_check").Add("needs the upstream to see the key: forward_key is none")
	}
	for i, status := range c.ReleaseOn {
		if status < 400 || status > 599 {
			p.Key("release_on").Index(i).Add("%d is not a status from 400 to 599: only a failure can free a key", status)
		}
	}
	for i, name := range c.FingerprintHeaders {
		at := p.Key("fingerprint_headers").Index(i)
		if !isToken(name) {
			at.Add("%q is not the name of a header", name)
		} else if slices.Contains(neverSame, strings.ToLower(name)) {
			at.Add("%s differs in every repetition: every one of them would be key-reused", name)
		}
	}
	for i, name := range c.KeepHeaders {
		at := p.Key("keep_headers").Index(i)
		if !isToken(name) {
			at.Add("%q is not the name of a header", name)
		} else if answer.Denied([]byte(name)) {
			at.Add("%s is never replayed", name)
		}
	}
}

// Validate adds what the tags can't say.
func (s *StatusCheck) Validate(p units.Problems) {
	at := p.Key("url")
	const mark = "oncegate-key"
	u, err := url.Parse(strings.ReplaceAll(s.URL, keyPlace, mark))
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil:
		at.Add("%q is not an http or https URL", s.URL)
	case u.Fragment != "":
		at.Add("has a fragment, which no server sees")
	case !strings.Contains(s.URL, keyPlace):
		at.Add("has no {key}: every write would be asked about in the same words")
	case strings.Contains(u.Host, mark):
		at.Add("has {key} in the host")
	}
	for name, list := range map[string][]int{"executed": s.Executed, "not_executed": s.NotExecuted} {
		for i, status := range list {
			switch where := p.Key(name).Index(i); {
			case status < 200 || status > 599:
				where.Add("%d is not a status from 200 to 599", status)
			case name == "not_executed" && slices.Contains(s.Executed, status):
				where.Add("%d means executed, too", status)
			case name == "not_executed" && status >= 500:
				where.Add("%d says that the upstream failed, not that nothing was executed", status)
			}
		}
	}
}

// keyPlace is replaced in the URL of a status check.
const keyPlace = "{key}"

// isToken is RFC 9110's token.
func isToken(s string) bool {
	return s != "" && strings.IndexFunc(s, func(c rune) bool {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		return !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	}) < 0
}
