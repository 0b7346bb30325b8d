package traffic

import (
	"bytes"
	"strings"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// key is what keeps a client at its arm.
type key struct {
	kind keyKind
	name string
}

type keyKind uint8

const (
	byClient keyKind = iota
	byIP
	byHeader
	byCookie
)

// parseKey reads client, ip, header:Name or cookie:Name.
func parseKey(text string) (k key, problem string) {
	kind, name, named := strings.Cut(text, ":")
	switch {
	case text == "client":
		return key{kind: byClient}, ""
	case text == "ip":
		return key{kind: byIP}, ""
	case kind == "header" && named && name != "":
		return key{byHeader, name}, ""
	case kind == "cookie" && named && name != "":
		return key{byCookie, name}, ""
	}
	return k, "is neither client, ip, header:Name nor cookie:Name"
}

// hash is a number of the key's value; false when the request has none. An anonymous client is its address.
func (k key) hash(x *pipeline.Exchange) (uint64, bool) {
	switch k.kind {
	case byClient:
		if !x.Client.Anonymous() {
			h := uint64(hashSeed)
			for i := range len(x.Client.Identity) {
				h = (h ^ uint64(x.Client.Identity[i])) * 1099511628211
			}
			return h, true
		}
		return k.address(x), true
	case byIP:
		return k.address(x), true
	case byHeader:
		v := x.Request.Header(k.name)
		return hashBytes(hashSeed, v), len(v) > 0
	}
	v, ok := cookie(x, k.name)
	return hashBytes(hashSeed, v), ok
}

func (k key) address(x *pipeline.Exchange) uint64 {
	a := x.ClientIP.As16()
	return hashBytes(hashSeed, a[:])
}

// cookie gives the first cookie of a name (RFC 6265, 4.2).
func cookie(x *pipeline.Exchange, name string) ([]byte, bool) {
	for i := range x.Request.Fields() {
		field, value := x.Request.Field(i)
		if field == nil || !wire.EqualFold(field, "cookie") {
			continue
		}
		for len(value) > 0 {
			var pair []byte
			pair, value, _ = bytes.Cut(value, []byte(";"))
			got, v, ok := bytes.Cut(bytes.TrimLeft(pair, " "), []byte("="))
			if ok && string(got) == name {
				return v, true
			}
		}
	}
	return nil, false
}

// condition is a compiled When.
type condition struct {
	headers, cookies, claims []pair
	flag                     string
	flags                    Flags
}

type pair struct{ name, value string }

func pairs(m map[string]string) (all []pair) {
	for name, value := range m {
		all = append(all, pair{name, value})
	}
	return all
}

func newCondition(w *When, flags Flags) (*condition, error) {
	if w == nil {
		return nil, nil
	}
	if w.Flag != "" && flags == nil {
		return nil, errNoFlags
	}
	return &condition{pairs(w.Headers), pairs(w.Cookies), pairs(w.Claims), w.Flag, flags}, nil
}

// holds reports whether all conditions do. A repeated header field does not match: readers differ on which one counts.
func (c *condition) holds(x *pipeline.Exchange, draw uint64) bool {
	for _, want := range c.headers {
		if !hasHeader(x, want) {
			return false
		}
	}
	for _, want := range c.cookies {
		if v, ok := cookie(x, want.name); !ok || string(v) != want.value {
			return false
		}
	}
	for _, want := range c.claims {
		if x.Client.Claims == nil {
			return false
		}
		if v, ok := x.Client.Claims.Claim(want.name); !ok || v != want.value {
			return false
		}
	}
	return c.flag == "" || c.flags.On(c.flag, draw)
}

func hasHeader(x *pipeline.Exchange, want pair) bool {
	count, good := 0, false
	for i := range x.Request.Fields() {
		if name, value := x.Request.Field(i); name != nil && wire.EqualFold(name, want.name) {
			count++
			good = string(value) == want.value
		}
	}
	return count == 1 && good
}
