package ratelimit

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Whose names a client where there is no request to read it from: what stands under each word of the limit's by, such as
// client (its identity), ip, route, header:X-Tenant or claim:plan. An empty text is a request without it. ip may stand
// beside them: those without an identity count by their address.
type Whose map[string]string

// ErrWhose is wrapped by what is wrong with a Whose: the message is for an operator.
var ErrWhose = errors.New("whose bucket")

// AppendKeyOf appends the key of whom, exactly as appendKey makes it for a request. Its errors wrap ErrWhose.
func (l *Limit) AppendKeyOf(dst []byte, whom Whose) ([]byte, error) {
	if err := l.understand(whom); err != nil {
		return dst, err
	}
	x := pipeline.Exchange{Request: asked{whom: whom}, Route: whom["route"], Client: pipeline.Client{Identity: whom["client"], Claims: asked{whom: whom}}}
	if text, given := whom["ip"]; given {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return dst, fmt.Errorf("%w: ip=%q is not an address", ErrWhose, text)
		}
		x.ClientIP = addr
	}
	key, ok := l.appendKey(dst, &x)
	if !ok {
		return dst, fmt.Errorf("%w: the limit refuses requests without %s", ErrWhose, strings.Join(l.By(), ", "))
	}
	return key, nil
}

// understand checks that all that the limit counts by is there, and nothing else.
func (l *Limit) understand(whom Whose) error {
	needs, byIP := map[string]bool{}, false
	for _, word := range l.By() {
		if word == "all" {
			continue
		}
		needs[word] = true
		value, given := whom[word]
		switch {
		case !given:
			return fmt.Errorf("%w: the limit counts by %s: %s is missing; with no value it means requests without one", ErrWhose, strings.Join(l.By(), ", "), word)
		case value == "" && (word == "ip" || word == "route"):
			return fmt.Errorf("%w: every request has one: %s is empty", ErrWhose, word)
		case value == "" && l.onMissing == missingNext:
			byIP = true
		}
	}
	if _, given := whom["ip"]; byIP && !given {
		return fmt.Errorf("%w: requests without it count by address: ip is missing", ErrWhose)
	}
	for word := range whom {
		if !needs[word] && !(word == "ip" && byIP) {
			return fmt.Errorf("%w: the limit does not count by %s", ErrWhose, word)
		}
	}
	return nil
}

// By are the words of the limit's identity, as they stand in the document.
func (l *Limit) By() []string {
	words := make([]string, len(l.by))
	for i, part := range l.by {
		words[i] = part.String()
	}
	return words
}

func (b by) String() string {
	switch b.kind {
	case byAddress:
		return "ip"
	case byRoute:
		return "route"
	case byAll:
		return "all"
	case byHeader:
		return "header:" + b.name
	case byClaim:
		return "claim:" + b.name
	}
	return "client"
}

// Word is deny or unlimited of a limit or a plan that counts nothing, else empty.
func (l *Limit) Word() string { return l.word }

// asked is the request and the claims of a Whose.
type asked struct {
	pipeline.Request // nil: only Header is asked for
	whom             Whose
}

func (a asked) Header(name string) []byte { return []byte(a.whom["header:"+name]) }

func (a asked) Claim(name string) (string, bool) {
	value := a.whom["claim:"+name]
	return value, value != ""
}

// Wait is how long so many tokens take to come back.
func (l *Limit) Wait(tokens float64) time.Duration { return l.wait(tokens) }
