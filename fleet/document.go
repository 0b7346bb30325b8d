package fleet

import (
	"fmt"
	"strings"
)

// Limit is one entry of rate_limits and the route /name that has it alone.
type Limit struct {
	Name string
	Rule Rule
	Spec string // "rate: 100/s, burst: 100"
	Path string // "/name" when empty
}

// Routes beside those of limits: what the first takes is what the machine takes.
const (
	FreePath = "/free"
	HoldPath = "/hold" // here the upstream answers when it is told to, see Origin
)

// Document is what the gateways of a fleet run with.
type Document struct {
	Shared bool // all gateways count together
	Limits []Limit
}

// Paths are the routes of the limits, then FreePath.
func (d Document) Paths() (all []string) {
	for _, l := range d.Limits {
		all = append(all, l.path())
	}
	return append(all, FreePath)
}

func (d Document) scope() string {
	if d.Shared {
		return ", scope: shared"
	}
	return ""
}

func (l Limit) path() string {
	if l.Path != "" {
		return l.Path
	}
	return "/" + l.Name
}

// text is the document of one gateway. redis is the flow mapping of state.redis.
func (d Document) text(address, admin, data, redis, upstream string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\nlisten: { address: %q, drain: { notice: 10ms, timeout: 5s } }\nadmin: { address: %q }\n", address, admin)
	fmt.Fprintf(&b, "state: { store: memory, path: %q, redis: %s }\nrate_limits:\n", data, redis)
	for _, l := range d.Limits {
		fmt.Fprintf(&b, "  %s: { %s, by: \"header:X-Client\"%s }\n", l.Name, l.Spec, d.scope())
	}
	fmt.Fprintf(&b, "upstreams: { up: { targets: [%q] } }\nroutes:\n  - { id: free, match: { path: %s }, auth: none, to: up }\n", upstream, FreePath)
	for _, l := range d.Limits {
		fmt.Fprintf(&b, "  - { id: %s, match: { path: %s }, auth: none, rate_limits: [%s], to: up }\n", l.Name, l.path(), l.Name)
	}
	return b.String()
}
