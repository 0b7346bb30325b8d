package auth

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Values gives verified claims as Go values, for expressions: bool, int64, uint64, float64, string, []string, []any,
// map[string]any, or an error for a number that none of these holds exactly enough to be compared. A null counts as absent.
type Values = interface {
	Value(name string) (any, bool)
}

// Value gives one claim. Nothing is converted before it is asked for.
func (c *claims) Value(name string) (any, bool) {
	m := c.find(name)
	if m == nil || m.kind == jsontext.KindNull {
		return nil, false
	}
	return m.value(), true
}

func (m *member) value() any {
	switch m.kind {
	case jsontext.KindString:
		return m.text
	case jsontext.KindTrue, jsontext.KindFalse:
		return m.kind == jsontext.KindTrue
	case jsontext.KindNumber:
		return number(m.text)
	case jsontext.KindBeginArray:
		if m.words {
			return m.list
		}
	}
	return parsed(jsontext.Value(m.text))
}

var errNumber = errors.New("the number is too large")

// number keeps whole numbers whole: two long ids must not become one float.
func number(text string) any {
	if !strings.ContainsAny(text, ".eE") {
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			return i
		}
		if u, err := strconv.ParseUint(text, 10, 64); err == nil {
			return u
		}
		return errNumber
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) {
		return errNumber
	}
	return f
}

// parsed gives a list or an object. One that holds a number too large is an error as a whole.
func parsed(text jsontext.Value) any {
	var all any
	read := json.UnmarshalFromFunc(func(d *jsontext.Decoder, v *any) error {
		if d.PeekKind() != jsontext.KindNumber {
			return errors.ErrUnsupported
		}
		raw, err := d.ReadValue()
		if err != nil {
			return err
		}
		*v = number(string(raw))
		err, _ = (*v).(error)
		return err
	})
	if err := json.Unmarshal(text, &all, json.WithUnmarshalers(read)); err != nil {
		return errNumber
	}
	return all
}
