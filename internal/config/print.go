package config

import (
	"regexp"
	"strconv"
	"strings"
)

// Print writes the effective document as YAML: defaults filled in and merged into the routes, keys in the order of the
// reference, names sorted, secrets and passwords in URLs redacted.
func Print(doc *Document) []byte {
	p := printer{}
	p.mapping(viewOf(doc), "")
	return []byte(p.out.String())
}

// printer writes a view as YAML: mappings as blocks, lists of scalars on one line.
type printer struct {
	out    strings.Builder
	reveal bool // secrets as they are; only so can a test read the text again
}

func (p *printer) mapping(v *view, indent string) {
	for i, e := range v.entries {
		if i > 0 {
			p.out.WriteString(indent)
		}
		p.out.WriteString(quote(e.name, false) + ":")
		p.value(e.value, indent+"  ")
	}
}

// value writes what follows a key, up to the end of its last line.
func (p *printer) value(v *view, indent string) {
	switch {
	case v.kind == mappingNode && len(v.entries) > 0:
		p.out.WriteString("\n" + indent)
		p.mapping(v, indent)
	case v.kind == listNode && !v.flat():
		for _, item := range v.items {
			p.out.WriteString("\n" + indent + "- ")
			p.item(item, indent+"  ")
		}
		p.out.WriteString("\n")
	default:
		p.out.WriteString(" " + p.flow(v) + "\n")
	}
}

func (p *printer) item(v *view, indent string) {
	if v.kind != mappingNode || len(v.entries) == 0 {
		p.out.WriteString(p.flow(v))
		return
	}
	inner := printer{reveal: p.reveal}
	inner.mapping(v, indent)
	p.out.WriteString(strings.TrimSuffix(inner.out.String(), "\n"))
}

// flat says whether a list holds no mappings.
func (v *view) flat() bool {
	for _, item := range v.items {
		if item.kind == mappingNode {
			return false
		}
	}
	return true
}

// flow writes a value on one line.
func (p *printer) flow(v *view) string {
	var parts []string
	switch v.kind {
	case mappingNode:
		for _, e := range v.entries {
			parts = append(parts, quote(e.name, false)+": "+p.flow(e.value))
		}
		if len(parts) == 0 {
			return "{}"
		}
		return "{ " + strings.Join(parts, ", ") + " }"
	case listNode:
		for _, item := range v.items {
			parts = append(parts, p.flow(item))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	text := v.text
	if p.reveal {
		text = v.exact
	}
	if !v.word {
		return text
	}
	return quote(text, true)
}

// plain is text that no YAML reader takes for anything but this text, inside of brackets or not; unless it is ambiguous.
var plain = regexp.MustCompile(`^(\./|[A-Za-z0-9_/])[A-Za-z0-9_./*@%+=~-]*(:/?/?[A-Za-z0-9_./*@%+=~-]+)*$`)

// ambiguous is text that some YAML reader takes for a boolean, null, number, time of day or date.
var ambiguous = regexp.MustCompile(`(?i)^(true|false|yes|no|on|off|y|n|null|[0-9][0-9_,.]*(e[-+]?[0-9]*)?|0[xob].*|[0-9]+(:[0-9]+)+(\.[0-9]*)?|[0-9]{4}-[0-9].*)$`)

// quote writes a text so that it is read as the same text; dollar signs of data are doubled where they would substitute.
func quote(text string, data bool) string {
	if data {
		text = escapeDollars(text)
	}
	if plain.MatchString(text) && !ambiguous.MatchString(text) {
		return text
	}
	return strconv.Quote(text)
}

func escapeDollars(text string) string {
	if !strings.Contains(text, "$") {
		return text
	}
	var out strings.Builder
	for i := range len(text) {
		if text[i] == '$' && i+1 < len(text) && (text[i+1] == '$' || text[i+1] == '{') {
			out.WriteByte('$')
		}
		out.WriteByte(text[i])
	}
	return out.String()
}
