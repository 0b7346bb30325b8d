package auth

import (
	"cmp"
	"fmt"
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
	hidden        []string // headers of API keys, which are credentials like Authorization
	authorization bool
}

type forwarded struct{ header, claim string }

// newForward hides the headers of every list, also on routes that take no keys: a client may send its key to all of them.
func newForward(cfg ForwardConfig, a *Authority) forward {
	f := forward{authorization: cfg.Authorization}
	if a != nil && !cfg.APIKey {
		f.hidden = a.hidden
	}
	for header, claim := range cfg.Claims {
		f.fields = append(f.fields, forwarded{header, claim})
	}
	slices.SortFunc(f.fields, func(a, b forwarded) int { return cmp.Compare(a.header, b.header) })
	return f
}

// clash finds a header that is to carry both a claim upstream and keys from clients: no client could ever send its key.
func (f *forward) clash(a *Authority) error {
	for i := range f.fields {
		if a != nil && slices.Contains(a.hidden, strings.ToLower(f.fields[i].header)) {
			return fmt.Errorf("header %s carries API keys and can't carry a claim", f.fields[i].header)
		}
	}
	return nil
}

// apply sets or removes every header; c is nil for nobody. False: there are more than an exchange takes.
func (f *forward) apply(x *pipeline.Exchange, c *claims) bool {
	x.Outgoing.Authorization = f.authorization
	for _, header := range f.hidden {
		if !x.Outgoing.Remove(header) {
			return false
		}
	}
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
		if f.Token != nil && !f.Token.inAuthorization() {
			names = append(names, strings.ToLower(f.Token.Header))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// KeyHeaders lists the headers that carry keys of these lists, in lower case: forward can't fill them, on any route.
func KeyHeaders(lists map[string]APIKeysConfig) []string {
	var names []string
	for _, l := range lists {
		names = append(names, l.header())
	}
	slices.Sort(names)
	return slices.Compact(names)
}
