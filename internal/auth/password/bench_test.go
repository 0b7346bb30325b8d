package password

import "testing"

func BenchmarkMatches(b *testing.B) {
	for name, text := range map[string]string{"argon2id 19 MiB, 2 passes": New([]byte("x")), "argon2id 64 MiB, 2 passes": argonPassword, "bcrypt 10": bcryptAllmine} {
		h, err := Parse(text)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				h.Matches([]byte("wrong"))
			}
		})
	}
}
