package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// kind is what a node is.
type kind uint8

const (
	nullNode kind = iota
	scalarNode
	listNode
	mappingNode
)

func (k kind) String() string {
	return [...]string{"nothing", "a single value", "a list", "a mapping"}[k]
}

// node is a value of the text with its place. It knows nothing of YAML's own types: what a scalar means is decided by the
// field that it fills, so that a substituted or quoted 5 is as good as a plain one.
type node struct {
	kind    kind
	text    string   // of a scalar, substituted
	sources []string // what was substituted into the text, as it is written: ${NAME}, ${file:/path}
	pieces  []string // the values that came from there; never shown
	plain   bool     // a scalar without quotes and substitution
	broken  bool     // its substitution failed
	away    bool     // it stands for a secret that was not asked for
	secret  bool     // it holds what came from a vault or a file
	builtIn bool     // the default of a variable stands in it
	at      position // the value
	key     position // its key; the start of an element; the root's first key
	entries []entry
	items   []*node
}

type entry struct {
	name  string
	key   position
	value *node
}

// get is the value of a key, nil when there is none.
func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
	for _, e := range n.entries {
		if e.name == name {
			return e.value
		}
	}
	return nil
}

// parseTree reads the text as one YAML document; nil when a problem was reported that leaves nothing to decode. A panic in
// the YAML library is a problem of the text, not the end of a running gateway that reloads.
func parseTree(text string, r *report) (root *node) {
	defer func() {
		if recover() != nil {
			r.add(start, "", "", "the text is not YAML")
			root = nil
		}
	}()
	tokens := scan(text, r)
	if tokens == nil && len(r.list) > 0 {
		return nil
	}
	file := parseYAML(tokens, r)
	if file == nil {
		return nil
	}
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil {
			bodies = append(bodies, doc.Body)
		}
	}
	switch {
	case len(bodies) == 0:
		r.add(start, "", "", "the document is empty: it needs version, upstreams and routes")
		return nil
	case len(bodies) > 1:
		r.add((builder{newReport("")}).node(bodies[1], "").at, "", "", "a second document begins here: only one is allowed")
		return nil
	}
	root = builder{r}.node(bodies[0], "")
	if root.kind != mappingNode {
		r.add(root.at, "", "", "the document must be a mapping, not %s", root.kind)
		return nil
	}
	root.key = root.at
	return root
}

func parseYAML(tokens token.Tokens, r *report) *ast.File {
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err == nil {
		return file
	}
	var broken yaml.Error
	if errors.As(err, &broken) {
		// Only the message: the error's text would repeat lines of the document, secrets included.
		r.add(placeOfToken(broken.GetToken()), "", "", "not valid YAML: %s", syntaxMessage(broken.GetMessage()))
	} else {
		r.add(start, "", "", "not valid YAML")
	}
	return nil
}

// syntaxMessage drops what a parser's message quotes from the text.
func syntaxMessage(message string) string {
	if strings.Contains(message, "'\t'") {
		return "a tab can't indent; use spaces"
	}
	if i := strings.IndexAny(message, "\"`"); i >= 0 {
		message = strings.TrimSpace(message[:i])
	}
	return message
}

// builder turns the parser's nodes into ours, and finds duplicate keys on the way.
type builder struct{ *report }

func (b builder) node(from ast.Node, path string) *node {
	n := &node{}
	if from == nil {
		n.at, n.key = start, start
		return n
	}
	n.at = placeOfToken(from.GetToken())
	switch v := from.(type) {
	case *ast.NullNode:
	case *ast.MappingNode:
		b.mapping(n, v.Values, path)
		if !v.IsFlowStyle && len(n.entries) > 0 {
			n.at = n.entries[0].key
		}
	case *ast.MappingValueNode:
		b.mapping(n, []*ast.MappingValueNode{v}, path)
		n.at = n.entries[0].key
	case *ast.SequenceNode:
		n.kind = listNode
		for i, item := range v.Values {
			n.items = append(n.items, b.node(item, fmt.Sprintf("%s[%d]", path, i)))
		}
	case *ast.LiteralNode:
		n.kind, n.text = scalarNode, v.Value.Value
	default:
		b.scalar(n, from)
	}
	n.key = n.at
	return n
}

func (b builder) scalar(n *node, from ast.Node) {
	t := from.GetToken()
	n.kind, n.text = scalarNode, t.Value
	n.plain = t.Type != token.DoubleQuoteType && t.Type != token.SingleQuoteType
}

func (b builder) mapping(n *node, values []*ast.MappingValueNode, path string) {
	n.kind = mappingNode
	first := make(map[string]position, len(values))
	for _, v := range values {
		name := v.Key.GetToken().Value
		at := placeOfToken(v.Key.GetToken())
		below := join(path, name)
		if strings.Contains(name, "${") {
			b.note(at, below, "", "variables can't stand in a key")
		}
		value := b.node(v.Value, below)
		value.key = at
		if before, twice := first[name]; twice {
			b.note(at, below, "", "duplicate key %q: it stands at line %d already", name, before.line)
			continue
		}
		first[name] = at
		n.entries = append(n.entries, entry{name, at, value})
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
