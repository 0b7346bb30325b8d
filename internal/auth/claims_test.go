package auth

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/units"
)

// Cases 36 to 39, at the edges and in exact time.
func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := single(t, secretIssuer()) // leeway 30 s
		now := time.Now().Unix()
		r.refused(t, "exp 30 s ago", hs("iat", now-100, "exp", now-30), Expired)
		r.passes(t, "exp 29 s ago", hs("iat", now-100, "exp", now-29))
		r.refused(t, "nbf in 31 s", hs("nbf", now+31), NotYetValid)
		r.passes(t, "nbf in 30 s", hs("nbf", now+30))
		r.refused(t, "iat in 31 s", hs("iat", now+31), NotYetValid)
		r.refused(t, "lives a day and a second", hs("iat", now, "exp", now+86401), LivesTooLong)
		r.passes(t, "lives a day", hs("iat", now, "exp", now+86400))
		r.refused(t, "no iat, ends after a day", hs("iat", nil, "exp", now+86401), LivesTooLong)
		r.passes(t, "no iat", hs("iat", nil))
		r.passes(t, "fractions", hs("exp", float64(now)+9.5))

		tok := hs("exp", now+60)
		r.passes(t, "fresh", tok)
		time.Sleep(89 * time.Second)
		r.passes(t, "within leeway, from the cache", tok)
		time.Sleep(time.Second)
		r.refused(t, "over", tok, Expired)
	})
}

func TestNoLeeway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := secretIssuer()
		cfg.Leeway = 0
		r := single(t, cfg)
		now := time.Now().Unix()
		r.refused(t, "exp == now", hs("exp", now), Expired)
		r.passes(t, "exp next second", hs("exp", now+1))
		cfg.MaxLifetime = units.Duration(time.Minute)
		short := single(t, cfg)
		short.refused(t, "over a minute", hs("iat", now, "exp", now+61), LivesTooLong)
		short.passes(t, "a minute", hs("iat", now, "exp", now+60))
	})
}

// Case 37 and 38: what is no date.
func TestDates(t *testing.T) {
	r := single(t, secretIssuer())
	r.refused(t, "no exp", hs("exp", nil), Malformed)
	later := time.Now().Unix() + 600
	for _, value := range []string{
		"null", "0", "-1", fmt.Sprintf("%q", fmt.Sprint(later)), "true", "1e300", "1e400", "9.3e18", "1e19", "253402300800",
		"[1]", "{}", "0.5", fmt.Sprintf("%g", math.MaxFloat64), "-0",
	} {
		for _, name := range []string{"exp", "nbf", "iat"} {
			body := strings.Replace(string(text(good(name, "@"))), `"@"`, value, 1)
			r.refused(t, name+" "+value, mint("HS256", []byte(testSecret), object{"alg": "HS256"}, body), Malformed)
		}
	}
}

// Cases 40 to 43, 47, 59.
func TestWhoAndForWhom(t *testing.T) {
	r := single(t, secretIssuer())
	for _, aud := range []any{nil, "other", []any{}, []any{""}, "", 5, []any{"api", 5}, []any{[]any{"api"}}, "ap", "API", "api/", "api ", true, object{"api": 1}} {
		r.refused(t, fmt.Sprintf("aud %v", aud), hs("aud", aud), WrongAudience)
	}
	r.passes(t, "aud among others", hs("aud", []any{"x", "api"}))
	for _, iss := range []any{nil, "https://evil.test/", "https://id.test", "https://id.test//", "HTTPS://ID.TEST/", 5, []any{testIssuer}} {
		r.refused(t, fmt.Sprintf("iss %v", iss), hs("iss", iss), WrongIssuer)
	}
	for _, sub := range []any{nil, "", 5, "a\r\nb", "a\nb", "a\x00", "a\x7f", "a\u0085b", []any{"alice"}} {
		r.refused(t, fmt.Sprintf("sub %q", sub), hs("sub", sub), WrongSubject)
	}
	for _, name := range []string{"nonce", "at_hash", "c_hash"} {
		r.refused(t, name, hs(name, "x"), NotAnAccessToken)
	}
	for _, cnf := range []any{object{"jkt": "x"}, object{"x5t#S256": "x"}, object{"odd": 1}, object{}, "x"} {
		r.refused(t, fmt.Sprintf("cnf %v", cnf), hs("cnf", cnf), SenderConstrained)
	}
}

// Cases 44 to 46: strict JSON, in bounds.
func TestPayloads(t *testing.T) {
	r := single(t, secretIssuer())
	with := func(body string) string { return mint("HS256", []byte(testSecret), object{"alg": "HS256"}, body) }
	fine := string(text(good()))
	inner := fine[1:]
	for name, body := range map[string]string{
		"duplicate": `{"sub":"bob",` + inner, "escaped duplicate": `{"\u0073ub":"bob",` + inner,
		"null": "null", "list": "[" + fine + "]", "string": `"x"`, "empty": "", "twice": fine + fine, "trailing": fine + "x",
		"BOM": "\xef\xbb\xbf" + fine, "bad UTF-8": `{"x":"` + "\xff" + `",` + inner, "lone surrogate": `{"x":"\ud800",` + inner,
		"deep list":   `{"x":` + strings.Repeat("[", 1500) + strings.Repeat("]", 1500) + "," + inner,
		"deep object": `{"x":` + strings.Repeat(`{"a":`, 16) + "1" + strings.Repeat("}", 16) + "," + inner,
		"not closed":  fine[:len(fine)-1], "comment": "/**/" + fine, "single quotes": `{'x':1,` + inner,
	} {
		r.refused(t, name, with(body), Malformed)
	}
	many := "{"
	for i := range maxMembers - 4 {
		many += fmt.Sprintf(`"%d":0,`, i)
	}
	r.refused(t, "257 members", with(many+inner), Malformed)
	r.passes(t, "15 deep", with(`{"x":`+strings.Repeat("[", 15)+strings.Repeat("]", 15)+","+inner))
	m := r.passes(t, "names in other case", with(`{"SUB":"mallory","EXP":1,"ſub":"mallory","Aud":"x",`+inner))
	if m.Client.Subject != "alice" {
		t.Errorf("subject %q", m.Client.Subject)
	}
	r.refused(t, "only in other case", with(strings.Replace(fine, `"sub"`, `"SUB"`, 1)), WrongSubject)
}

func TestClaimTexts(t *testing.T) {
	r := single(t, secretIssuer())
	body := strings.Replace(string(text(good())), "{", `{ "s" : "a\u0062\"", "n":1.50, "t":true, "z":null, "l": [ "x", 2, [ 3 ], null ], "o" : { "k" : [ 1 ] }, `, 1)
	m := r.passes(t, "texts", mint("HS256", []byte(testSecret), object{"alg": "HS256"}, body))
	for name, want := range map[string]string{"s": `ab"`, "n": "1.50", "t": "true", "l": `["x",2,[3],null]`, "o": `{"k":[1]}`, "sub": "alice"} {
		if got, ok := m.Client.Claims.Claim(name); !ok || got != want {
			t.Errorf("%s: %q %v, want %q", name, got, ok, want)
		}
	}
	for _, name := range []string{"z", "absent", "S", ""} {
		if got, ok := m.Client.Claims.Claim(name); ok {
			t.Errorf("%q: %q", name, got)
		}
	}
}

func TestIdentityIsUnambiguous(t *testing.T) {
	seen := map[string]string{}
	for _, pair := range [][2]string{{"a", "bc"}, {"ab", "c"}, {"", "abc"}, {"abc", ""}, {"1:a", "bc"}, {"a", "1:bc"}, {"a\x00", "b"}, {"a", "\x00b"}} {
		id := Identity(pair[0], pair[1])
		if before, ok := seen[id]; ok {
			t.Errorf("%q and %q are both %q", before, pair, id)
		}
		seen[id] = pair[0] + "|" + pair[1]
	}
}

// An entry's own times are judged at every use, whatever the cache thought of them.
func TestStillValid(t *testing.T) {
	i := &issuer{leeway: 30}
	e := &entry{expires: 1000, notBefore: 500}
	for now, want := range map[float64]Reason{469: NotYetValid, 470: accepted, 800: accepted, 1029.5: accepted, 1030: Expired} {
		if got := i.stillValid(e, now); got != want {
			t.Errorf("at %v: %v, want %v", now, got, want)
		}
	}
}
