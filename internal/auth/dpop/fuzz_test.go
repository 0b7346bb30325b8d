package dpop

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// FuzzProof: what passes here is, for another library, a JWS whose embedded public key verifies it and has the thumbprint of
// the token, with these claims; and it passes once.
func FuzzProof(f *testing.F) {
	key := testKeys()["ES256"]
	f.Add(string(text(head())), string(text(body())), "")
	f.Add(string(text(head("typ", "application/dpop+jwt", "kid", "x"))), string(text(body("htu", target+"?a#b", "exp", now.Unix()+9))), "")
	f.Add(`{"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"EC"}}`, `{"jti":"\u0000","htu":"https://api.example.com:443/%6frders/1"}`, "")
	f.Add(string(text(head("crit", []string{}))), string(text(body("iat", 1.8e9))), "")
	f.Add("", "", proof())
	f.Add("", "", "e30.e30.AA")
	d := newDesk(f, Config{}, "ES256")
	f.Fuzz(func(t *testing.T, head, body, raw string) {
		if raw == "" {
			raw = mint("ES256", key, head, body)
		}
		d.shared.Replays = NewMemory(shards)
		d.holder.last.Store(nil)
		v, _ := d.asks(raw, now)
		again, _ := d.asks(raw, now)
		if v != Proven {
			if again != v {
				t.Fatalf("%v, then %v", v, again)
			}
			return
		}
		if again != Replayed {
			t.Fatalf("again: %v", again)
		}
		parsed, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatalf("passes here, but: %v", err)
		}
		embedded := parsed.Signatures[0].Header.JSONWebKey
		if embedded == nil || !embedded.IsPublic() {
			t.Fatal("no public key for the other library")
		}
		payload, err := parsed.Verify(embedded)
		if err != nil {
			t.Fatal(err)
		}
		var said struct{ HTM, HTU, ATH string }
		if err := json.Unmarshal(payload, &said); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.ToLower(said.HTU), "//api.example.com") {
			t.Fatalf("htu %q", said.HTU)
		}
	})
}
