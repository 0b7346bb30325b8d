package dpop

import (
	"bytes"
	"encoding/base64"
	"math"
	"strconv"
	"strings"

	"github.com/oncegate/oncegate/internal/auth/keyset"
	"github.com/oncegate/oncegate/internal/wire"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of a proof, checked before anything is decoded.
const (
	maxProof  = 8 << 10
	maxHeader = 4 << 10 // of the first segment: it holds a public key
	maxJTI    = 256
	proofType = "dpop+jwt"

	lastSecond = 253402300799 // the end of the year 9999
)

var strict = base64.RawURLEncoding.Strict()

var alphabet = func() (table [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		table[c] = true
	}
	return table
}()

func legal(segment []byte) bool {
	for _, c := range segment {
		if !alphabet[c] {
			return false
		}
	}
	return len(segment) > 0
}

// compact is a compact JWS cut into segments, which are borrowed.
type compact struct {
	header, payload, signature []byte
	signed                     []byte // header and payload with their dot
}

// split demands three segments of base64url and nothing else.
func split(text []byte) (compact, bool) {
	if len(text) > maxProof {
		return compact{}, false
	}
	first := bytes.IndexByte(text, '.')
	if first <= 0 || first > maxHeader {
		return compact{}, false
	}
	second := bytes.IndexByte(text[first+1:], '.')
	if second <= 0 {
		return compact{}, false
	}
	second += first + 1
	p := compact{text[:first], text[first+1 : second], text[second+1:], text[:second]}
	return p, legal(p.header) && legal(p.payload) && legal(p.signature)
}

// header is the header of a proof whose key is the token's. It is immutable.
type header struct {
	segment string
	key     *keyset.Key
}

// members is a header as it is read. What would change how a proof is read, or bring a key from elsewhere, is named to be
// refused.
type members struct {
	Alg  *string        `json:"alg"`
	Typ  *string        `json:"typ"`
	JWK  jsontext.Value `json:"jwk"`
	Crit jsontext.Value `json:"crit"`
	B64  jsontext.Value `json:"b64"`
	Zip  jsontext.Value `json:"zip"`
	Enc  jsontext.Value `json:"enc"`
	JKU  jsontext.Value `json:"jku"`
	X5U  jsontext.Value `json:"x5u"`
	X5C  jsontext.Value `json:"x5c"`
}

func (j *members) foreign() bool {
	for _, member := range []jsontext.Value{j.Crit, j.B64, j.Zip, j.Enc, j.JKU, j.X5U, j.X5C} {
		if member != nil {
			return true
		}
	}
	return false
}

// header reads the first segment, unless it is the one that was good last time.
func (c *Checker) header(h *Holder, segment []byte) (*header, Verdict) {
	if last := h.last.Load(); last != nil && last.segment == string(segment) {
		return last, Proven
	}
	text, err := strict.AppendDecode(nil, segment)
	if err != nil {
		return nil, Malformed
	}
	key := c.parseHeader(text)
	switch {
	case key == nil:
		return nil, Malformed
	case key.Thumbprint() != h.thumbprint:
		return nil, OtherKey
	}
	return &header{string(segment), key}, Proven
}

// parseHeader reads a decoded header strictly and gives its key; nil when anything about it is not as it has to be.
func (c *Checker) parseHeader(text []byte) *keyset.Key {
	var j members
	if json.Unmarshal(text, &j) != nil || j.foreign() || j.Alg == nil || j.Typ == nil || j.JWK.Kind() != jsontext.KindBeginObject {
		return nil
	}
	if strings.TrimPrefix(strings.ToLower(*j.Typ), "application/") != proofType {
		return nil
	}
	algorithm := keyset.Find(*j.Alg)
	for _, allowed := range c.algorithms {
		if algorithm == allowed {
			key, err := keyset.FromJWK(j.JWK, algorithm)
			if err != nil {
				return nil
			}
			return key
		}
	}
	return nil
}

// claims are what a proof says. Times are Unix seconds.
type claims struct {
	jti, htm, htu, ath, nonce string
	iat, exp, nbf             float64 // exp, nbf: 0 when absent
}

// readClaims reads the second segment strictly: one object, no name twice, valid UTF-8, each claim of its type.
func readClaims(segment []byte) (*claims, bool) {
	var body struct {
		JTI   *string        `json:"jti"`
		HTM   *string        `json:"htm"`
		HTU   *string        `json:"htu"`
		ATH   *string        `json:"ath"`
		Nonce *string        `json:"nonce"`
		IAT   jsontext.Value `json:"iat"`
		EXP   jsontext.Value `json:"exp"`
		NBF   jsontext.Value `json:"nbf"`
	}
	text, err := strict.AppendDecode(nil, segment)
	if err != nil || json.Unmarshal(text, &body) != nil {
		return nil, false
	}
	if body.JTI == nil || body.HTM == nil || body.HTU == nil || body.ATH == nil || body.IAT == nil {
		return nil, false
	}
	c := &claims{jti: *body.JTI, htm: *body.HTM, htu: *body.HTU, ath: *body.ATH}
	if body.Nonce != nil {
		c.nonce = *body.Nonce
	}
	ok := len(c.jti) > 0 && len(c.jti) <= maxJTI
	return c, ok && date(body.IAT, &c.iat) && date(body.EXP, &c.exp) && date(body.NBF, &c.nbf)
}

// date reads a NumericDate; an absent one leaves to as it is.
func date(raw jsontext.Value, to *float64) bool {
	if raw == nil {
		return true
	}
	if raw.Kind() != jsontext.KindNumber {
		return false
	}
	value, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || math.IsNaN(value) || value < 1 || value > lastSecond {
		return false
	}
	*to = value
	return true
}

// target compares an htu with the base and the request's path, without query and fragment (RFC 9449, 4.3), after
// normalisation: case of scheme and host, the scheme's own port, escapes of the path.
func (c *Checker) target(htu string, path []byte) bool {
	if rest, ok := strings.CutPrefix(htu, c.prefix); ok && rest == string(path) {
		return true
	}
	if i := strings.IndexAny(htu, "?#"); i >= 0 {
		htu = htu[:i]
	}
	scheme, rest, ok := strings.Cut(htu, "://")
	if !ok || !strings.EqualFold(scheme, c.base.scheme) {
		return false
	}
	authority, said := rest, "/"
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, said = rest[:i], rest[i:]
	}
	if normal(c.base.scheme, authority) != c.base.authority {
		return false
	}
	canonical, _, _, err := wire.Canonical(nil, []byte(said))
	return err == nil && bytes.Equal(canonical, path)
}
