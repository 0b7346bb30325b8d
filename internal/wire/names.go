package wire

// Names is a set of field names. Has compares without regard to case, and '_' equals '-': many upstreams do the same. It is
// immutable and safe for concurrent use; nil is the empty set.
type Names struct {
	letters [64]uint32 // by length: which first letters occur, so that a miss costs one look
	folded  []string
}

// NewNames makes a set; empty names are left out.
func NewNames(names ...string) *Names {
	n := &Names{}
	for _, name := range names {
		if name == "" || n.Has([]byte(name)) {
			continue
		}
		folded := []byte(name)
		for i, c := range folded {
			folded[i] = nameFold[c]
		}
		n.letters[len(name)&63] |= 1 << (folded[0] & 31)
		n.folded = append(n.folded, string(folded))
	}
	return n
}

// Has reports whether the set holds the name.
func (n *Names) Has(name []byte) bool {
	if n == nil || len(name) == 0 || n.letters[len(name)&63]&(1<<(nameFold[name[0]]&31)) == 0 {
		return false
	}
	for _, folded := range n.folded {
		if equalName(name, folded) {
			return true
		}
	}
	return false
}

// Len is the number of names.
func (n *Names) Len() int {
	if n == nil {
		return 0
	}
	return len(n.folded)
}

// equalName compares a name with a folded one.
func equalName(name []byte, folded string) bool {
	if len(name) != len(folded) {
		return false
	}
	for i := range len(folded) {
		if nameFold[name[i]] != folded[i] {
			return false
		}
	}
	return true
}

// role is what a field's name means to the door.
type role uint8

const (
	roleOther role = iota
	roleHost
	roleContentLength
	roleTransferEncoding
	roleConnection
	roleAuthorization
	roleExpect
	roleForwarding // says whom a proxy serves; read and dropped by Proxies.Resolve
	roleHop        // hop-by-hop, RFC 9110 7.6.1
	roleUpgrade    // the same, and a wish
	roleUnwanted   // lets a client rewrite what was authorised, or pose as a TLS terminator
	rolePinned     // end-to-end by meaning: Connection can't remove it
)

type knownName struct {
	name string
	role role
}

// knownNames are the names that matter, by length, in lower case.
var knownNames = [...][]knownName{
	2: {{"te", roleHop}},
	4: {{"host", roleHost}, {"date", rolePinned}},
	5: {{"proxy", roleUnwanted}, {"range", rolePinned}},
	6: {{"expect", roleExpect}, {"cookie", rolePinned}, {"accept", rolePinned}, {"origin", rolePinned}},
	7: {{"upgrade", roleUpgrade}, {"trailer", roleHop}},
	9: {{"x-real-ip", roleForwarding}, {"forwarded", roleForwarding}, {"x-api-key", rolePinned}},
	10: {
		{"connection", roleConnection}, {"keep-alive", roleHop}, {"user-agent", rolePinned}, {"tracestate", rolePinned},
	},
	11: {{"traceparent", rolePinned}, {"client-cert", roleUnwanted}, {"x-client-dn", roleUnwanted}},
	12: {{"content-type", rolePinned}, {"x-request-id", rolePinned}},
	13: {
		{"authorization", roleAuthorization}, {"cache-control", rolePinned}, {"x-rewrite-url", roleUnwanted},
		{"x-http-method", roleUnwanted}, {"x-client-cert", roleUnwanted}, {"content-range", rolePinned},
	},
	14: {
		{"content-length", roleContentLength}, {"http2-settings", roleHop}, {"x-original-url", roleUnwanted}, {"x-original-uri", roleUnwanted},
		{"content-digest", rolePinned},
	},
	15: {{"idempotency-key", rolePinned}, {"x-client-verify", roleUnwanted}},
	16: {{"proxy-connection", roleHop}, {"content-encoding", rolePinned}, {"x-arr-clientcert", roleUnwanted}},
	17: {
		{"transfer-encoding", roleTransferEncoding}, {"x-method-override", roleUnwanted}, {"x-original-method", roleUnwanted},
		{"client-cert-chain", roleUnwanted},
	},
	18: {{"proxy-authenticate", roleHop}},
	19: {{"proxy-authorization", roleHop}},
	22: {{"x-http-method-override", roleUnwanted}},
	23: {{"x-forwarded-client-cert", roleUnwanted}},
}

const forwardedPrefix = "x-forwarded-"

// certificatePrefixes begin the names under which terminators of TLS tell upstreams of a client's certificate. With
// client-cert and client-cert-chain (RFC 9440) they are taken from every client: a certificate is what a handshake verified.
var certificatePrefixes = [...]string{"x-ssl-", "x-client-cert", "x-tls-client-", "x-amzn-mtls-", "ssl-client-"}

func posesAsCertificate(name []byte) bool {
	if first := lower[name[0]]; first != 'x' && first != 's' {
		return false
	}
	for _, prefix := range certificatePrefixes {
		if len(name) >= len(prefix) && lower[name[2]] == prefix[2] && EqualFold(name[:len(prefix)], prefix) {
			return true
		}
	}
	return false
}

// roleOf looks a name up. It doesn't fold '_': such fields are dropped before anybody asks for their meaning.
func roleOf(name []byte) role {
	if len(name) < len(knownNames) {
		first := lower[name[0]]
		for _, k := range knownNames[len(name)] {
			if k.name[0] == first && EqualFold(name, k.name) {
				return k.role
			}
		}
	}
	if len(name) > len(forwardedPrefix) && EqualFold(name[:len(forwardedPrefix)], forwardedPrefix) {
		return roleForwarding
	}
	if posesAsCertificate(name) {
		return roleUnwanted
	}
	return roleOther
}

// HopByHop reports whether a field, of a request or an answer, belongs to one connection only (RFC 9110 7.6.1). What a
// Connection field names comes on top of that.
func HopByHop(name []byte) bool {
	if len(name) == 0 {
		return false
	}
	switch roleOf(name) {
	case roleHop, roleUpgrade, roleConnection, roleTransferEncoding:
		return true
	}
	return false
}

// TrailerAllowed reports whether a field may follow a body: not those that frame, route, authenticate or describe a message
// (RFC 9110 6.5.1), nor those of one connection.
func TrailerAllowed(name []byte) bool {
	switch {
	case len(name) == 0 || !allOf(name, charToken), EqualFold(name, "Max-Forwards"), len(name) > 3 && EqualFold(name[:3], "If-"):
		return false
	}
	return roleOf(name) == roleOther || EqualFold(name, "Content-Digest")
}
