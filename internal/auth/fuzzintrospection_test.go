package auth

import (
	"testing"
	"time"
)

// FuzzIntrospection: whatever an answer holds, only a sound one that says true, in this issuer's name, makes a client.
func FuzzIntrospection(f *testing.F) {
	a := authority(f, map[string]IssuerConfig{"main": askingIssuer("http://127.0.0.1:1/")})
	i := a.issuers["main"]
	f.Add(string(text(active())))
	f.Add(string(text(active("iss", nil, "aud", []string{"x", "api"}))))
	f.Add(`{"active":"true"}`)
	f.Add(`{"active":true,"active":false}`)
	f.Fuzz(func(t *testing.T, body string) {
		e, reason := i.judgeAnswer([]byte(body), time.Now())
		if (reason == accepted) != (e != nil) {
			t.Fatalf("%v with %v", reason, e)
		}
		if reason != accepted {
			return
		}
		if yes := e.claims.find("active"); yes == nil || yes.text != "true" || e.client.Subject == "" || !e.until.After(time.Now().Add(-time.Minute)) {
			t.Fatalf("%q passes", body)
		}
	})
}
