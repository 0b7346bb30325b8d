package h1

// sameName compares a field name with one in lower case: without regard to case, and '_' equals '-', because many upstreams
// can't tell them apart.
func sameName(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := range name {
		if fold[name[i]] != lower[i] {
			return false
		}
	}
	return true
}

// same is sameName for two names as they come.
func same(name []byte, other string) bool {
	if len(name) != len(other) {
		return false
	}
	for i := range name {
		if fold[name[i]] != fold[other[i]] {
			return false
		}
	}
	return true
}

// framing tells fields of a request that the exchange alone decides.
func framing(name []byte) bool {
	switch len(name) {
	case 4:
		return sameName(name, "host")
	case 6:
		return sameName(name, "expect")
	case 14:
		return sameName(name, "content-length")
	}
	return false
}

// identity tells fields that say who asks and under which id: a client's are never passed on.
func identity(name []byte) bool {
	switch len(name) {
	case 9:
		return sameName(name, "forwarded") || sameName(name, "x-real-ip")
	case 10:
		return sameName(name, "tracestate")
	case 11:
		return sameName(name, "traceparent")
	case 12:
		return sameName(name, "x-request-id")
	case 15:
		return sameName(name, "x-forwarded-for")
	case 16:
		return sameName(name, "x-forwarded-host")
	case 17:
		return sameName(name, "x-forwarded-proto")
	}
	return false
}

// The character tables of RFC 9110, section 5.
var (
	fold       = foldTable()
	validName  = nameTable()
	validValue = valueTable()
)

func foldTable() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
		if i >= 'A' && i <= 'Z' {
			t[i] = byte(i) + 'a' - 'A'
		}
	}
	t['_'] = '-'
	return t
}

func nameTable() (t [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}

func valueTable() (t [256]bool) {
	for i := range t {
		t[i] = i >= ' ' && i != 0x7f || i == '\t'
	}
	return t
}
