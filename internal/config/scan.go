package config

import (
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// Bounds of a text. The YAML parser is recursive, and its work grows with the square of a collection's length: what it gets
// must be bounded before.
const (
	maxDocument   = 16 << 20
	maxStructure  = 500_000 // characters that may begin a token
	maxDepth      = 64
	maxCollection = 20_000 // entries of one list or mapping
)

const structure = "\n,[]{}:-?&*!|>%@#\"'"

// scan checks the text as a whole and splits it into tokens; nil when a problem was reported.
func scan(text string, r *report) token.Tokens {
	switch bad := strings.IndexFunc(text, func(c rune) bool { return c == 0 || c == utf8.RuneError }); {
	case len(text) > maxDocument:
		r.add(start, "", "", "the document is larger than 16 MiB")
	case !utf8.ValidString(text):
		r.add(placeOf(text, invalidUTF8(text)), "", "", "the text is not UTF-8")
	case bad >= 0 && text[bad] == 0:
		r.add(placeOf(text, bad), "", "", "the text holds a NUL byte")
	case countAny(text, structure) > maxStructure:
		r.add(start, "", "", "the document is too large: more than %d structural characters", maxStructure)
	}
	if len(r.list) > 0 {
		return nil
	}
	tokens := lexer.Tokenize(text)
	refuse(tokens, r)
	measure(tokens, r)
	if len(r.list) > 0 {
		return nil
	}
	return rejoin(tokens)
}

func countAny(text, set string) int {
	var wanted [256]bool
	for i := range len(set) {
		wanted[set[i]] = true
	}
	n := 0
	for i := range len(text) {
		if wanted[text[i]] {
			n++
		}
	}
	return n
}

func invalidUTF8(text string) int {
	for i, c := range text {
		if c == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD") {
			return i
		}
	}
	return 0
}

func placeOf(text string, offset int) position {
	before := text[:offset]
	last := strings.LastIndexByte(before, '\n')
	return position{1 + strings.Count(before, "\n"), 1 + utf8.RuneCountInString(before[last+1:])}
}

// refused are the parts of YAML that this document has no use for. Aliases could blow up a small text; tags, complex keys
// and directives could give a value another type than it seems to have.
var refused = map[token.Type]string{
	token.AnchorType:     "anchors (&) are not supported: write the value where it is needed, or use defaults",
	token.AliasType:      "aliases (*) are not supported: write the value where it is needed, or quote a text that begins with *",
	token.MergeKeyType:   "merge keys (<<) are not supported: write the keys where they are needed, or use defaults",
	token.TagType:        "tags (!) are not supported: quote a text that begins with !",
	token.DirectiveType:  "directives (%) are not supported: quote a text that begins with %",
	token.MappingKeyType: "complex keys (?) are not supported",
}

func refuse(tokens token.Tokens, r *report) {
	for _, t := range tokens {
		if message, bad := refused[t.Type]; bad && len(r.list) < maxProblems {
			r.add(placeOfToken(t), "", "", "%s", message)
		}
	}
}

func placeOfToken(t *token.Token) position {
	if t == nil || t.Position == nil {
		return start
	}
	return position{t.Position.Line, t.Position.Column}
}

// level is an open collection: a column of block lines, or a bracket.
type level struct {
	column  int
	entries int
}

// measure refuses what is nested too deep or too long, without recursion.
func measure(tokens token.Tokens, r *report) {
	var blocks, flows []level
	line, dashes := 0, 0
	for _, t := range tokens {
		at := placeOfToken(t)
		if at.line != line {
			line, dashes = at.line, 0
			if len(flows) == 0 {
				blocks = enter(blocks, at.column)
			}
		}
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			flows = append(flows, level{})
		case token.MappingEndType, token.SequenceEndType:
			flows = flows[:max(0, len(flows)-1)]
		case token.CollectEntryType:
			if len(flows) > 0 {
				flows[len(flows)-1].entries++
			}
		case token.SequenceEntryType:
			dashes++
		}
		if message := tooMuch(blocks, flows, dashes); message != "" {
			r.add(at, "", "", "%s", message)
			return
		}
	}
}

// enter counts a line that begins at a column: one more entry of that block, and the end of deeper ones.
func enter(blocks []level, column int) []level {
	for len(blocks) > 0 && blocks[len(blocks)-1].column > column {
		blocks = blocks[:len(blocks)-1]
	}
	if len(blocks) == 0 || blocks[len(blocks)-1].column < column {
		blocks = append(blocks, level{column: column})
	}
	blocks[len(blocks)-1].entries++
	return blocks
}

func tooMuch(blocks, flows []level, dashes int) string {
	if len(blocks)+len(flows)+dashes > maxDepth {
		return "the document is nested too deep"
	}
	long := len(blocks) > 0 && blocks[len(blocks)-1].entries > maxCollection
	if long || len(flows) > 0 && flows[len(flows)-1].entries > maxCollection {
		return "this list or mapping is too long"
	}
	return ""
}
