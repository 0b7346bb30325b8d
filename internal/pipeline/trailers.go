package pipeline

import "slices"

// Trailers are the fields that follow a body (RFC 9110 6.5). Whoever reads the body fills them in, at the latest with its
// io.EOF; before that there are none. Strings are owned. Methods take nil for no trailers.
type Trailers struct {
	fields    []trailer
	announced []string
}

type trailer struct{ name, value string }

// maxTrailers bounds what one body may bring.
const maxTrailers = 64

// Add appends a field. Past 64 false is returned and nothing is added.
func (t *Trailers) Add(name, value string) bool {
	if len(t.fields) == maxTrailers {
		return false
	}
	t.fields = append(t.fields, trailer{name, value})
	return true
}

// Announce tells of a name that may come. Past 64 they are forgotten.
func (t *Trailers) Announce(name string) {
	if len(t.announced) < maxTrailers {
		t.announced = append(t.announced, name)
	}
}

// Announced are the names that a head announced.
func (t *Trailers) Announced() []string {
	if t == nil {
		return nil
	}
	return t.announced
}

// Len is their number.
func (t *Trailers) Len() int {
	if t == nil {
		return 0
	}
	return len(t.fields)
}

// Each gives them in order.
func (t *Trailers) Each(f func(name, value string)) {
	if t == nil {
		return
	}
	for _, field := range t.fields {
		f(field.name, field.value)
	}
}

// Clone is a copy of its own; nil for none.
func (t *Trailers) Clone() *Trailers {
	if t.Len() == 0 {
		return nil
	}
	return &Trailers{fields: slices.Clone(t.fields)}
}
