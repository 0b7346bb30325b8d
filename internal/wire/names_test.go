package wire

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	n := NewNames("X-User-Id", "x_user_id", "", "Cookie", "X-Z")
	if n.Len() != 3 {
		t.Errorf("%d names", n.Len())
	}
	for name, want := range map[string]bool{
		"X-User-Id": true, "x-user-id": true, "X_USER_ID": true, "x-User_id": true, "cookie": true, "x-z": true,
		"X-User-I": false, "X-User-Idd": false, "Cookies": false, "Dookie": false, "Cookif": false, "": false, "x": false, "X--": false,
	} {
		if n.Has([]byte(name)) != want {
			t.Errorf("%q: not %t", name, want)
		}
	}
	// Lengths 64 apart share a row of the filter; the comparison still decides.
	if long := NewNames(strings.Repeat("a", 66)); long.Has([]byte("aa")) || !long.Has([]byte(strings.Repeat("A", 66))) {
		t.Error("long names")
	}
	var none *Names
	if none.Has([]byte("a")) || none.Len() != 0 || NewNames().Has([]byte("a")) {
		t.Error("an empty set holds something")
	}
	if dash := NewNames("-a"); !dash.Has([]byte("_A")) {
		t.Error("a leading '_' is not '-'")
	}
}

func TestHopByHop(t *testing.T) {
	for _, name := range []string{"Connection", "keep-alive", "PROXY-CONNECTION", "Proxy-Authenticate", "Proxy-Authorization", "TE", "Trailer",
		"Transfer-Encoding", "Upgrade", "HTTP2-Settings"} {
		if !HopByHop([]byte(name)) {
			t.Errorf("%s is not hop-by-hop", name)
		}
	}
	for _, name := range []string{"", "Host", "Content-Length", "Proxy", "T", "Upgrade-Insecure-Requests", "Date", "X-Forwarded-For", "Expect",
		"Connectiom", strings.Repeat("x", 300)} {
		if HopByHop([]byte(name)) {
			t.Errorf("%s is hop-by-hop", name)
		}
	}
}

// The table of names is found by length and compared in lower case: an entry in the wrong row would never match.
func TestKnownNamesStandInTheirRow(t *testing.T) {
	for length, row := range knownNames {
		for _, k := range row {
			if len(k.name) != length || strings.ToLower(k.name) != k.name || k.role == roleOther {
				t.Errorf("%q stands in row %d with role %d", k.name, length, k.role)
			}
			if got := roleOf([]byte(strings.ToUpper(k.name))); got != k.role {
				t.Errorf("%q: role %d, want %d", k.name, got, k.role)
			}
		}
	}
}

func TestEqualFold(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{{"", "", true}, {"Chunked", "cHUNKED", true}, {"a", "ab", false}, {"[", "{", false}, {"@", "`", false}, {"a_b", "a-b", false}, {"K", "\u212a", false}} {
		if EqualFold([]byte(c.a), c.b) != c.want {
			t.Errorf("%q, %q: not %t", c.a, c.b, c.want)
		}
	}
}

func TestTrailerAllowed(t *testing.T) {
	for _, name := range []string{"Grpc-Status", "grpc-message", "X-Sum", "Server-Timing", "Content-Digest", "my_metadata-bin"} {
		if !TrailerAllowed([]byte(name)) {
			t.Errorf("%s is kept off", name)
		}
	}
	for _, name := range []string{"", "Content-Length", "transfer-encoding", "Host", "Authorization", "Cookie", "Connection", "TE", "Trailer", "X-Forwarded-For", "Content-Type", "Idempotency-Key", ":status", "a b", "x\r\ny"} {
		if TrailerAllowed([]byte(name)) {
			t.Errorf("%s may follow a body", name)
		}
	}
}
