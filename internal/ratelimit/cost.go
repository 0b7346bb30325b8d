package ratelimit

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// Cost is what one request takes: a number, or the highest of those that hold for it.
type Cost struct {
	Base           int            `yaml:"base" default:"1" min:"0" max:"1000000000" doc:"Tokens of a request; 0 looks and takes nothing."`
	Methods        map[string]int `yaml:"methods" doc:"Tokens by method instead of base, such as POST: 5; HEAD costs as much as GET."`
	Body           map[string]int `yaml:"body" doc:"Tokens of a body of at least this size, such as 64KiB: 2; one of unknown length is taken for the largest."`
	ResponseHeader string         `yaml:"response_header" doc:"Field of the upstream's answer with what the request did cost. It is settled afterwards, down to a burst of debt, and not passed on."`
}

// FromScalar takes a number.
func (c *Cost) FromScalar(text string) error {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > maxBurst || strings.Trim(text, "0123456789") != "" || len(text) > 1 && text[0] == '0' {
		return fmt.Errorf("%q is not a number of tokens from 0 to %d", text, maxBurst)
	}
	c.Base = int(n)
	return nil
}

// Scalar is the number, if there is no more.
func (c Cost) Scalar() (string, bool) { return strconv.Itoa(c.Base), c.flat() }

func (c Cost) flat() bool { return len(c.Methods) == 0 && len(c.Body) == 0 && c.ResponseHeader == "" }

// most is the highest estimate.
func (c Cost) most() int {
	most := c.Base
	for _, n := range c.Methods {
		most = max(most, n)
	}
	for _, n := range c.Body {
		most = max(most, n)
	}
	return most
}

// least is the smallest that a full bucket of the limit or a plan holds.
type least struct {
	tokens float64
	words  string // " of plan gold"
}

func (c *Config) least(reserved bool) least {
	found := least{tokens: math.Inf(1)}
	look := func(n Plan, words string) {
		holds := n.holds()
		if !reserved {
			holds -= floorOf(float64(c.Reserve), holds)
		}
		if n.counts() && n.given() && n.Burst >= 0 && holds < found.tokens {
			found = least{holds, words}
		}
	}
	look(c.numbers(), "")
	for _, name := range sorted(c.Plans) {
		if name != claimKey {
			look(c.Plans[name], " of plan "+name)
		}
	}
	return found
}

func (c *Config) validateCost(p units.Problems) {
	if c.numbers().kind() == Slots {
		if !c.Cost.flat() || c.Cost.Base > 1 {
			p.Add("a request takes one place of in_flight, no more and no less")
		}
		return
	}
	smallest := c.least(true)
	fits := func(p units.Problems, n int) {
		switch {
		case n < 0 || n > maxBurst:
			p.Add("%d is not a number of tokens from 0 to %d", n, maxBurst)
		case float64(n) > smallest.tokens:
			p.Add("a request costs %d tokens, but a full bucket%s holds only %d: every request would be refused", n, smallest.words, int64(smallest.tokens))
		}
	}
	base := p
	if !c.Cost.flat() {
		base = p.Key("base")
	}
	fits(base, c.Cost.Base)
	for method, n := range c.Cost.Methods {
		validateMethod(p.Key("methods").Key(method), method)
		fits(p.Key("methods").Key(method), n)
	}
	for size, n := range c.Cost.Body {
		var z units.Size
		if err := z.UnmarshalText([]byte(size)); err != nil {
			p.Key("body").Key(size).Add("%s", err)
			continue
		}
		fits(p.Key("body").Key(size), n)
	}
	if name := c.Cost.ResponseHeader; name != "" && !isToken(name) {
		p.Key("response_header").Add("%q is not the name of a header", name)
	}
}

var knownMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

func validateMethod(p units.Problems, method string) {
	meant := units.Nearest(method, knownMethods)
	switch {
	case slices.Contains(knownMethods, method):
	case !isToken(method) || meant != "":
		p.Unknown("method", method, knownMethods)
	}
}

// costs are compiled; body is sorted from the largest size down.
type costs struct {
	methods []methodCost
	body    []bodyCost
	header  string
}

type methodCost struct {
	method string
	tokens float64
}

type bodyCost struct {
	size   int64
	tokens float64
}

func compileCosts(c Cost) *costs {
	if c.flat() {
		return nil
	}
	out := &costs{header: c.ResponseHeader}
	for _, method := range sorted(c.Methods) {
		out.methods = append(out.methods, methodCost{method, float64(c.Methods[method])})
		if _, own := c.Methods["HEAD"]; method == "GET" && !own { // the upstream does the same work
			out.methods = append(out.methods, methodCost{"HEAD", float64(c.Methods[method])})
		}
	}
	for size, n := range c.Body {
		var z units.Size
		if z.UnmarshalText([]byte(size)) == nil {
			out.body = append(out.body, bodyCost{int64(z), float64(n)})
		}
	}
	slices.SortFunc(out.body, func(a, b bodyCost) int { return cmp.Compare(b.size, a.size) })
	return out
}

// price is what a request is charged before it is known what it costs.
func (l *Limit) price(r pipeline.Request) float64 {
	if l.costs == nil {
		return l.cost
	}
	price := l.cost
	if len(l.costs.methods) > 0 {
		method := r.Method()
		for i := range l.costs.methods {
			if string(method) == l.costs.methods[i].method {
				price = l.costs.methods[i].tokens
				break
			}
		}
	}
	if len(l.costs.body) == 0 {
		return price
	}
	length := r.ContentLength()
	for i := range l.costs.body {
		if length < 0 || length >= l.costs.body[i].size { // from the largest down: of unknown length it may be any
			return max(price, l.costs.body[i].tokens)
		}
	}
	return price
}

// settle replaces estimates by what the upstream says the request did cost. A replay cost nothing, and was settled so.
func (l *layer) settle(ctx context.Context, x *pipeline.Exchange, c *call) {
	changed := false
	counted := c.counted()
	for i := range counted {
		charge := &counted[i]
		charge.Change = 0
		if name := charge.Limit.header(); name != "" && charge.Admitted {
			if actual, ok := tokens(x.Response.Header(name)); ok {
				charge.Change = charge.Cost - actual
				changed = changed || charge.Change != 0
			}
		}
	}
	if changed && !x.Replayed {
		l.Store.Settle(context.WithoutCancel(ctx), counted)
	}
	l.strip(x)
}

// strip keeps from the client what the upstream says to the gateway.
func (l *layer) strip(x *pipeline.Exchange) {
	for _, name := range l.headers {
		x.Response.Del(name)
	}
}

func (l *Limit) header() string {
	if l.costs == nil {
		return ""
	}
	return l.costs.header
}

// costHeaders are the fields that limits and their plans read; all plans of a limit read the same.
func costHeaders(limits []*Limit) []string {
	var names []string
	for _, l := range limits {
		if name := l.header(); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// tokens reads a whole number; what is absent, negative, too large to be meant or anything else keeps the estimate.
func tokens(value []byte) (float64, bool) {
	if len(value) == 0 || len(value) > 10 {
		return 0, false
	}
	n := int64(0)
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return float64(n), n <= maxBurst
}
