package dedup

import (
	"slices"
	"strings"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// KeyOf says what a request is to the layer before any record is looked for. It is protected when its method is; then its key is
// nil when there is none and none is needed, or the refusal is KeyMissing or KeyInvalid (0: none). Two fields are broken even
// when they agree. The key is borrowed.
func (c *Config) KeyOf(r pipeline.Request) (key []byte, protected bool, refusal pipeline.Refusal) {
	if !c.protects(r.Method()) {
		return nil, false, 0
	}
	var found []byte
	n := 0
	for i := range r.Fields() {
		if name, value := r.Field(i); wire.EqualFold(name, keyField) {
			found = value
			n++
		}
	}
	switch {
	case n == 0 && c.Key == "required":
		return nil, true, pipeline.KeyMissing
	case n == 0:
		return nil, true, 0
	}
	key, ok := wire.ParseKey(found)
	if n > 1 || !ok {
		return nil, true, pipeline.KeyInvalid
	}
	return key, true, 0
}

func (c *Config) protects(method []byte) bool {
	return slices.ContainsFunc(c.Methods, func(m string) bool { return string(method) == m })
}

// ClientOf says whose key it is: by the header that names him, which is borrowed, else nil for the authenticated subject. ok is
// false when nobody is named: a key of nobody would be everybody's.
func (c *Config) ClientOf(x *pipeline.Exchange) (named []byte, ok bool) {
	header, byHeader := strings.CutPrefix(c.Client, "header:")
	if !byHeader {
		return nil, !x.Client.Anonymous()
	}
	named = single(x.Request, header)
	return named, len(named) > 0
}
