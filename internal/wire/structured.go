package wire

import "bytes"

const maxKey = 255

// ParseKey reads an Idempotency-Key: an RFC 9651 string or a bare token, so that "abc" and abc are the same key. A key is 1
// to 255 visible ASCII characters after unquoting. Lists, parameters, spaces and stray quotes are refused. The key aliases
// value unless it holds escapes.
func ParseKey(value []byte) (key []byte, ok bool) {
	value = trimSpace(value)
	if len(value) == 0 {
		return nil, false
	}
	if key = value; value[0] == '"' {
		if key, ok = unquote(value); !ok {
			return nil, false
		}
	} else if bytes.ContainsAny(value, `",;`) {
		return nil, false
	}
	if len(key) == 0 || len(key) > maxKey || !allOf(key, charVisible) {
		return nil, false
	}
	return key, true
}

// unquote reads a whole sf-string. The last quote must be the value's last byte: parameters and further members are refused.
func unquote(value []byte) ([]byte, bool) {
	if len(value) < 2 || value[len(value)-1] != '"' {
		return nil, false
	}
	inner := value[1 : len(value)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner, bytes.IndexByte(inner, '"') < 0
	}
	if len(inner) > 2*maxKey {
		return nil, false
	}
	plain := make([]byte, 0, len(inner))
	for i := 0; i < len(inner); i++ {
		c := inner[i]
		if c == '"' {
			return nil, false
		}
		if c == '\\' {
			if i++; i == len(inner) || inner[i] != '"' && inner[i] != '\\' {
				return nil, false
			}
			c = inner[i]
		}
		plain = append(plain, c)
	}
	return plain, true
}

// AppendString appends s as an RFC 9651 string. Such a string holds printable ASCII only: any other byte becomes '?'.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20 || c >= 0x7f:
			dst = append(dst, '?')
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
