package auth

import (
	"cmp"
	"slices"
	"strings"
	"unsafe"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// maxForwarded bounds the value of a claim header; a longer claim is left out.
const maxForwarded = 4 << 10

// forward is what of a client goes upstream. A claim goes into its header when its text is printable ASCII and at most
// 4 KiB: scalars as they are, lists and objects as compact JSON. Any other claim is left out, as is an absent one, and the
// header is removed: upstream never sees a value that is not ours, nor one that two readers decode differently.
type forward struct {
	fields        []forwarded
	authorization bool
}

type forwarded struct{ header, claim string }

func newForward(cfg ForwardConfig) forward {
	f := forward{authorization: cfg.Authorization}
	for header, claim := range cfg.Claims {
		f.fields = append(f.fields, forwarded{header, claim})
	}
	slices.SortFunc(f.fields, func(a, b forwarded) int { return cmp.Compare(a.header, b.header) })
	return f
}

// apply sets or removes every header; c is nil for nobody. False: there are more than an exchange takes.
func (f *forward) apply(x *pipeline.Exchange, c *claims) bool {
	x.Outgoing.Authorization = f.authorization
	for i := range f.fields {
		var value []byte // nil removes the header
		if c != nil {
			if m := c.find(f.fields[i].claim); m != nil && m.sendable() {
				value = borrow(m.text)
			}
		}
		if !x.Outgoing.Set(f.fields[i].header, value) {
			return false
		}
	}
	return true
}

// borrow views a string as bytes that nobody writes to. The string lives in the verified token, which the exchange holds,
// so a copy per request would be waste.
func borrow(text string) []byte { return unsafe.Slice(unsafe.StringData(text), len(text)) }

// Guarded lists the header names that any of the routes fills, in lower case: the gateway strips them from every request,
// on routes without auth too.
func Guarded(fwd ...ForwardConfig) []string {
	var names []string
	for _, f := range fwd {
		for header := range f.Claims {
			names = append(names, strings.ToLower(header))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
