package config

import (
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"
)

// rejoin puts texts together that the scanner splits inside of { }: there it takes every colon for the end of a key, so that
// { scopes: [orders:write] } became a list of mappings. YAML 1.2.2 (7.3.3) ends a plain text only at a colon that a space or
// a bracket follows.
func rejoin(tokens token.Tokens) token.Tokens {
	out := tokens[:0:0]
	braces := 0
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		switch t.Type {
		case token.MappingStartType:
			braces++
		case token.MappingEndType:
			braces--
		}
		switch {
		case braces <= 0:
		case i+2 < len(tokens) && oneWord(t, tokens[i+1], tokens[i+2]):
			t = token.String(t.Value+":"+tokens[i+2].Value, t.Origin+":"+tokens[i+2].Origin, t.Position)
			i += 2
		case i > 0 && i+1 < len(tokens) && leadingColon(tokens[i-1], t, tokens[i+1]):
			t = token.String(":"+tokens[i+1].Value, t.Origin+tokens[i+1].Origin, t.Position)
			i++
		}
		if n := len(out); n > 0 {
			out[n-1].Next, t.Prev = t, out[n-1]
		}
		t.Next = nil
		out = append(out, t)
	}
	return out
}

func oneWord(before, colon, after *token.Token) bool {
	return colon.Type == token.MappingValueType && isPlain(before) && isPlain(after) && touches(before, colon) && touches(colon, after)
}

// leadingColon is the case of [::1] and [:8080].
func leadingColon(before, colon, after *token.Token) bool {
	begins := before.Type == token.CollectEntryType || before.Type == token.SequenceStartType
	return begins && colon.Type == token.MappingValueType && isPlain(after) && touches(colon, after)
}

func isPlain(t *token.Token) bool {
	switch t.Type {
	case token.StringType, token.IntegerType, token.FloatType, token.BoolType, token.NullType, token.HexIntegerType,
		token.OctetIntegerType, token.BinaryIntegerType, token.InfinityType, token.NanType:
		return true
	}
	return false
}

func touches(a, b *token.Token) bool {
	return a.Position.Line == b.Position.Line && a.Position.Column+utf8.RuneCountInString(a.Value) == b.Position.Column
}
