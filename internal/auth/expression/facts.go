package expression

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"sync"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// Claims gives verified claims as values: bool, int64, uint64, float64, string, []string, []any, map[string]any, or an error
// for a number that is none of these. A claim that is null is absent.
type Claims = interface {
	Value(name string) (any, bool)
}

// facts are the variables of one evaluation. What is not asked for is not made.
type facts struct {
	x      *pipeline.Exchange
	claims Claims
	tables [4]table
}

const (
	claimsKind = iota
	headersKind
	queryKind
	paramsKind
)

var pool = sync.Pool{New: func() any {
	f := new(facts)
	for kind := range f.tables {
		f.tables[kind] = table{f, kind}
	}
	return f
}}

// Parent is of cel.Activation: there is none.
func (f *facts) Parent() cel.Activation { return nil }

// ResolveName gives a variable.
func (f *facts) ResolveName(name string) (any, bool) {
	switch name {
	case claimsTable:
		return &f.tables[claimsKind], true
	case headersTable:
		return &f.tables[headersKind], true
	case queryTable:
		return &f.tables[queryKind], true
	case paramsTable:
		return &f.tables[paramsKind], true
	case "request.method":
		return textValue(f.x.Request.Method()), true
	case "request.host":
		return textValue(f.x.Request.Host()), true
	case "request.path":
		return textValue(f.x.Request.Path()), true
	case "client.subject":
		return types.String(f.x.Client.Subject), true
	case "client.issuer":
		return types.String(f.x.Client.Issuer), true
	case "client.ip":
		if !f.x.ClientIP.IsValid() {
			return types.NewErr("client.ip is not known"), true
		}
		return types.String(f.x.ClientIP.String()), true
	case "now":
		if f.x.Start.IsZero() {
			return types.Timestamp{Time: time.Now()}, true
		}
		return types.Timestamp{Time: f.x.Start}, true
	}
	return nil, false
}

// textValue copies borrowed bytes. What is not UTF-8 is no text of CEL's.
func textValue(b []byte) ref.Val {
	if !utf8.Valid(b) {
		return types.NewErr("not UTF-8")
	}
	return types.String(b)
}

// table is a map of which single members are read; inspect has refused every other use.
type table struct {
	f    *facts
	kind int
}

var _ traits.Mapper = (*table)(nil)

var errWhole = errors.New("a table is read by its members only")

// Find gives a member; an error when it is there but can't be told: twice, or not text.
func (t *table) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return types.NewErr("the name of a member is a string"), false
	}
	switch t.kind {
	case claimsKind:
		return t.f.claim(string(name))
	case headersKind:
		return t.f.header(string(name))
	case queryKind:
		return t.f.parameter(string(name))
	}
	value := t.f.x.Params.Get(string(name))
	if value == nil {
		return nil, false
	}
	return found(textValue(value))
}

func found(v ref.Val) (ref.Val, bool) { return v, !types.IsError(v) }

func (f *facts) claim(name string) (ref.Val, bool) {
	value, ok := f.claims.Value(name)
	if !ok {
		return nil, false
	}
	if err, bad := value.(error); bad {
		return types.WrapErr(fmt.Errorf("claim %s: %w", name, err)), false
	}
	return found(types.DefaultTypeAdapter.NativeToValue(value))
}

// header gives a field that stands in the head once: of two, nobody knows which one an upstream reads.
func (f *facts) header(name string) (ref.Val, bool) {
	var value []byte
	n := 0
	for i := range f.x.Request.Fields() {
		if got, v := f.x.Request.Field(i); wire.EqualFold(got, name) {
			value = v
			n++
		}
	}
	switch {
	case n == 0:
		return nil, false
	case n > 1:
		return types.NewErr("header %s stands there %d times", name, n), false
	}
	return found(textValue(value))
}

// parameter gives a parameter of the query, decoded, that stands there once.
func (f *facts) parameter(name string) (ref.Val, bool) {
	var value ref.Val
	for query := f.x.Request.Query(); len(query) > 0; {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte("&"))
		k, v, _ := bytes.Cut(pair, []byte("="))
		key, err := decoded(k)
		switch {
		case err != nil:
			return types.NewErr("a parameter's name is badly escaped"), false
		case key != name || len(pair) == 0:
			continue
		case value != nil:
			return types.NewErr("parameter %s stands there twice", name), false
		}
		text, err := decoded(v)
		if err != nil {
			return types.NewErr("parameter %s is badly escaped", name), false
		}
		value = textValue([]byte(text))
	}
	if value == nil {
		return nil, false
	}
	return found(value)
}

func decoded(b []byte) (string, error) {
	if bytes.IndexByte(b, '%') < 0 && bytes.IndexByte(b, '+') < 0 {
		return string(b), nil
	}
	return url.QueryUnescape(string(b))
}

// Get is Find for the index operator.
func (t *table) Get(key ref.Val) ref.Val {
	v, ok := t.Find(key)
	if !ok && v == nil {
		return types.NewErr("no such key: %v", key)
	}
	return v
}

// Contains is the operator in.
func (t *table) Contains(key ref.Val) ref.Val {
	v, ok := t.Find(key)
	if !ok && v != nil {
		return v
	}
	return types.Bool(ok)
}

// The rest of a map is never asked for.

func (t *table) Iterator() traits.Iterator {
	return types.NewRefValList(types.DefaultTypeAdapter, nil).Iterator()
}
func (t *table) Size() ref.Val                             { return types.WrapErr(errWhole) }
func (t *table) ConvertToNative(reflect.Type) (any, error) { return nil, errWhole }
func (t *table) ConvertToType(ref.Type) ref.Val            { return types.WrapErr(errWhole) }
func (t *table) Equal(ref.Val) ref.Val                     { return types.WrapErr(errWhole) }
func (t *table) Type() ref.Type                            { return types.MapType }
func (t *table) Value() any                                { return t }
