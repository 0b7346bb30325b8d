package expression

import (
	"testing"
	"time"
)

// FuzzCompile: no text makes compilation panic or hang, and what compiles neither panics nor hangs, and gives a bool or an
// error.
func FuzzCompile(f *testing.F) {
	for _, seed := range []string{
		`claims.a == "b"`, `claims.roles.exists(r, r.startsWith("x"))`, `request.headers["x-a"] == ""`, `inCIDR(client.ip, "10.0.0.0/8")`,
		`now - timestamp(claims.t) < duration("5m")`, `request.path.matches("^(a|b)+$")`, `[1,2].map(x, x * 2).size() > 1`, `{"a": 1}["a"] == 1`,
		`"\x00" == b"\xff"`, "claims.`a` == 1", `true ? claims.a == 1 : false`, `((((`, `"""`, `1 == 1 // x`, `claims.a.b.all(x, x == 1)`, `!!-1`, `9223372036854775807 + 1 == 0`,
	} {
		f.Add(seed)
	}
	x := exchange()
	f.Fuzz(func(t *testing.T, text string) {
		begin := time.Now()
		p, err := New().Compile(text)
		if (p == nil) == (err == nil) {
			t.Fatalf("%q: %v %v", text, p, err)
		}
		if p != nil {
			if ok, err := p.Allows(x, alice); ok && err != nil {
				t.Fatalf("%q: true with %v", text, err)
			}
			_ = p.Why(x, alice)
		} else if len(err.(*Error).Problems) == 0 {
			t.Fatalf("%q: no problem", text)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Fatalf("%q took %v", text, took)
		}
	})
}
