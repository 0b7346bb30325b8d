package auth

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/oncegate/oncegate/internal/auth/keyset"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// header is what counts in the header of a token (RFC 7515, 4). It is immutable and owns its strings.
type header struct {
	algorithm *keyset.Algorithm
	kid       string
	named     bool   // there is a kid
	typ       string // lower case, without "application/"
}

// jose is the header as it is read. Members that change how a token is read or where its key comes from are named to be
// refused; crit in particular, as no extension is understood here.
type jose struct {
	Alg  *string        `json:"alg"`
	Kid  *string        `json:"kid"`
	Typ  *string        `json:"typ"`
	Crit jsontext.Value `json:"crit"`
	B64  jsontext.Value `json:"b64"`
	Zip  jsontext.Value `json:"zip"`
	Enc  jsontext.Value `json:"enc"`
	JWK  jsontext.Value `json:"jwk"`
	JKU  jsontext.Value `json:"jku"`
	X5U  jsontext.Value `json:"x5u"`
	X5C  jsontext.Value `json:"x5c"`
}

func (j *jose) foreign() bool {
	for _, member := range []jsontext.Value{j.Crit, j.B64, j.Zip, j.Enc, j.JWK, j.JKU, j.X5U, j.X5C} {
		if member != nil {
			return true
		}
	}
	return false
}

const maxKid = 256

// parseHeader reads a decoded header strictly: one object, no name twice, valid UTF-8, names in their exact case.
func parseHeader(text []byte) (*header, Reason) {
	var j jose
	if json.Unmarshal(text, &j) != nil || j.foreign() || j.Alg == nil {
		return nil, Malformed
	}
	h := &header{algorithm: keyset.Find(*j.Alg)}
	if h.algorithm == nil {
		return nil, WrongAlgorithm
	}
	if j.Kid != nil {
		if len(*j.Kid) > maxKid {
			return nil, Malformed
		}
		h.kid, h.named = *j.Kid, true
	}
	if j.Typ != nil {
		h.typ = mediaType(*j.Typ)
	}
	return h, accepted
}

// mediaType brings a typ to its short form (RFC 7515, 4.1.9).
func mediaType(typ string) string { return strings.TrimPrefix(strings.ToLower(typ), "application/") }

const maxMemo = 64

// memo remembers the headers of tokens that were verified, by the text of their segment: an issuer writes one or two, so
// parsing nearly always disappears. A token that was not verified never gets in.
type memo struct {
	mu    sync.Mutex
	known atomic.Pointer[map[string]*header]
}

func (m *memo) get(segment []byte) *header {
	known := m.known.Load()
	if known == nil {
		return nil
	}
	return (*known)[string(segment)]
}

// put starts anew when the memo is full: what is used comes back.
func (m *memo) put(segment []byte, h *header) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := map[string]*header{string(segment): h}
	if known := m.known.Load(); known != nil && len(*known) < maxMemo {
		for text, other := range *known {
			next[text] = other
		}
	}
	m.known.Store(&next)
}
