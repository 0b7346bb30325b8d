package auth

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// scratch holds the buffers of one verification.
type scratch struct {
	header, payload, signature []byte
	source                     bytes.Buffer
	decoder                    *jsontext.Decoder
	reader                     reader
}

var scratches = sync.Pool{New: func() any {
	return &scratch{decoder: jsontext.NewDecoder(bytes.NewReader(nil))}
}}

// reader walks over the members of one JSON object. Its strings are parts of owned.
type reader struct {
	decoder *jsontext.Decoder
	owned   string
}

// read begins to walk over text.
func (s *scratch) read(text []byte) *reader {
	s.source = *bytes.NewBuffer(text)
	s.decoder.Reset(&s.source)
	s.reader = reader{decoder: s.decoder, owned: string(text)}
	return &s.reader
}

func (r *reader) open() bool {
	t, err := r.decoder.ReadToken()
	return err == nil && t.Kind() == jsontext.KindBeginObject
}

func (r *reader) more() bool { return r.decoder.PeekKind() != jsontext.KindEndObject }

// close demands the object's end and nothing behind it.
func (r *reader) close() bool {
	if _, err := r.decoder.ReadToken(); err != nil {
		return false
	}
	_, err := r.decoder.ReadToken()
	return errors.Is(err, io.EOF)
}

func (r *reader) member() (m member, ok bool) {
	if m.name, ok = r.name(); !ok {
		return m, false
	}
	start := r.decoder.InputOffset()
	switch m.kind = r.decoder.PeekKind(); m.kind {
	case jsontext.KindBeginArray:
		m.list, m.words, ok = r.elements()
		m.text = compact(r.owned[start:r.decoder.InputOffset()])
	case jsontext.KindBeginObject:
		m.inside, ok = r.inside()
		m.text = compact(r.owned[start:r.decoder.InputOffset()])
	default:
		m.text, ok = r.value()
	}
	m.printable = ok && printable(m.text)
	return m, ok
}

// inside reads the members of an object that is a claim. Of one with too many, none is kept: no rule finds anything there.
func (r *reader) inside() (members []member, ok bool) {
	if _, err := r.decoder.ReadToken(); err != nil {
		return nil, false
	}
	for r.more() {
		m, ok := r.member()
		if !ok {
			return nil, false
		}
		members = append(members, m)
	}
	if _, err := r.decoder.ReadToken(); err != nil {
		return nil, false
	}
	if len(members) > maxMembers {
		members = nil
	}
	return members, true
}

// name reads a member's name; the decoder refuses one that was there before.
func (r *reader) name() (string, bool) {
	if r.decoder.PeekKind() != jsontext.KindString {
		return "", false
	}
	return r.value()
}

// value reads a value as text: strings without their quotes, other scalars as they stand, objects as compact JSON.
func (r *reader) value() (string, bool) {
	raw, err := r.decoder.ReadValue()
	if err != nil {
		return "", false
	}
	end := r.decoder.InputOffset()
	text := r.owned[end-int64(len(raw)) : end]
	switch text[0] {
	case '"':
		if bytes.IndexByte(raw, '\\') < 0 {
			return text[1 : len(text)-1], true
		}
		plain, err := jsontext.AppendUnquote(nil, raw)
		return string(plain), err == nil
	case '{', '[':
		return compact(text), true
	}
	return text, true
}

// elements reads a list; words says that all of it are strings. What is no scalar leaves "" in its place.
func (r *reader) elements() (list []string, words, ok bool) {
	if _, err := r.decoder.ReadToken(); err != nil {
		return nil, false, false
	}
	for words = true; ; {
		kind := r.decoder.PeekKind()
		if kind == jsontext.KindEndArray {
			_, err := r.decoder.ReadToken()
			return list, words, err == nil
		}
		text, ok := r.value()
		if !ok {
			return nil, false, false
		}
		words = words && kind == jsontext.KindString
		if kind == jsontext.KindBeginObject || kind == jsontext.KindBeginArray || kind == jsontext.KindNull {
			text = ""
		}
		list = append(list, text)
	}
}

// compact removes white space from valid JSON.
func compact(text string) string {
	value := jsontext.Value(bytes.TrimLeft([]byte(text), " \t\r\n:,"))
	if value.Compact() != nil {
		return ""
	}
	return string(value)
}

// peekIssuer finds the top-level iss of a payload whose signature nobody has checked yet: a key to look an issuer up by,
// and nothing else. It reads no further than that member.
func peekIssuer(s *scratch, payload []byte) (string, bool) {
	if tooDeep(payload) {
		return "", false
	}
	r := s.read(payload)
	if !r.open() {
		return "", false
	}
	for n := 0; r.more() && n < maxMembers; n++ {
		name, ok := r.name()
		if !ok {
			return "", false
		}
		text := r.decoder.PeekKind() == jsontext.KindString
		if name != "iss" {
			if r.decoder.SkipValue() != nil {
				return "", false
			}
			continue
		}
		issuer, ok := r.value()
		return issuer, ok && text
	}
	return "", false
}
