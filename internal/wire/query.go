package wire

import "bytes"

// QueryHas reports whether some parameter of the query decodes to exactly name and value: percent escapes, and '+' as space
// (application/x-www-form-urlencoded). A broken escape stands for itself; a parameter without '=' has an empty value.
func QueryHas(query []byte, name, value string) bool {
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte("&"))
		if len(pair) == 0 {
			continue
		}
		k, v, _ := bytes.Cut(pair, []byte("="))
		if decodesTo(k, name) && decodesTo(v, value) {
			return true
		}
	}
	return false
}

func decodesTo(encoded []byte, want string) bool {
	n := 0
	for i := 0; i < len(encoded); i++ {
		c := encoded[i]
		switch c {
		case '+':
			c = ' '
		case '%':
			if decoded, ok := unescape(encoded[i:]); ok {
				c = decoded
				i += 2
			}
		}
		if n == len(want) || want[n] != c {
			return false
		}
		n++
	}
	return n == len(want)
}
