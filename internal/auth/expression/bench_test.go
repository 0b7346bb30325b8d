package expression

import "testing"

func BenchmarkAllows(b *testing.B) {
	for name, text := range map[string]string{
		"claim":  `claims.tenant == "acme"`,
		"three":  `claims.tenant == "acme" && claims.level >= 5 && request.params.id == "7"`,
		"in":     `"admin" in claims.roles`,
		"cidr":   `inCIDR(client.ip, "192.0.2.0/24")`,
		"header": `request.headers["x-version"] == "3"`,
		"loop":   `claims.roles.exists(r, r.startsWith("orders:"))`,
	} {
		b.Run(name, func(b *testing.B) {
			p, x := compiled(b, text), exchange()
			b.ReportAllocs()
			for b.Loop() {
				if ok, err := p.Allows(x, alice); !ok {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	c := New()
	for b.Loop() {
		clear(c.done)
		if _, err := c.Compile(`claims.tenant == "acme" && claims.roles.exists(r, r.startsWith("orders:"))`); err != nil {
			b.Fatal(err)
		}
	}
}
