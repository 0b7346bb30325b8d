package password

import (
	"strings"
	"testing"
	"time"
)

// The argon2 text is of the reference implementation's own tests, the bcrypt one of Go's.
const (
	argonPassword = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	bcryptAllmine = "$2a$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga"
)

func TestKnownHashes(t *testing.T) {
	for text, password := range map[string]string{argonPassword: "password", bcryptAllmine: "allmine", strings.Replace(bcryptAllmine, "$2a$", "$2y$", 1): "allmine"} {
		h, err := Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if !h.Matches([]byte(password)) {
			t.Errorf("%s: the password does not match", text)
		}
		for _, wrong := range []string{password + "\x00"} {
			if h.Matches([]byte(wrong)) {
				t.Errorf("%s: %q matches", text, wrong)
			}
		}
	}
	long := New([]byte(strings.Repeat("a", 100)))
	if h, err := Parse(long); err != nil || !h.Matches([]byte(strings.Repeat("a", 100))) || h.Matches([]byte(strings.Repeat("a", 99))) {
		t.Errorf("%s: %v", long, err)
	}
	if one, two := New([]byte("a")), New([]byte("a")); one == two {
		t.Error("no salt")
	}
}

// bcrypt looks at 72 bytes only: a longer password would be several passwords.
func TestBcryptIsNotCut(t *testing.T) {
	h := &Hash{bcrypt: []byte(bcryptAllmine)}
	if start := time.Now(); h.Matches([]byte(strings.Repeat("a", 73))) || time.Since(start) > 20*time.Millisecond {
		t.Error("hashed")
	}
}

func TestWhatCannotBeUsed(t *testing.T) {
	argon := func(old, new string) string { return strings.Replace(argonPassword, old, new, 1) }
	for _, text := range []string{
		"", "password", "$", "$argon2id$", argonPassword + "$", " " + argonPassword, argonPassword + "\n", argon("$c29t", "$\nc29t"),
		argon("argon2id", "argon2i"), argon("argon2id", "argon2d"), argon("v=19", "v=16"), argon("$v=19", ""), argon("m=65536", "m=1024"), argon("m=65536", "m=262145"),
		argon("m=65536", "m=0"), argon("m=65536", "m=+65536"), argon("m=65536", "m=065536"), argon("m=65536", "m=-1"), argon("m=65536", "m=99999999999"), argon("t=2", "t=0"),
		argon("t=2", "t=17"), argon("p=1", "p=0"), argon("p=1", "p=17"), argon("p=1", "p=256"), argon("m=65536,t=2", "t=2,m=65536"), argon("p=1", "p=1,data=x"), argon("p=1", "p"),
		argon("c29tZXNhbHQ", "c29tZXNhbHR="), argon("c29tZXNhbHQ", "c29t"), argon("c29tZXNhbHQ", "c29tZXNhbHR"), argon("CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "CTFh"),
		argon("c29tZXNhbHQ", strings.Repeat("A", 400)), "$2b$04$" + bcryptAllmine[7:], "$2b$15$" + bcryptAllmine[7:], "$2x$10$" + bcryptAllmine[7:], "$2$10$" + bcryptAllmine[7:],
		bcryptAllmine[:59], bcryptAllmine + "a", strings.Replace(bcryptAllmine, "X", "!", 1), "$2b$1a$" + bcryptAllmine[7:], "$1$abc$def", "$6$abc$def", "{SHA}x", "$apr1$x$y",
	} {
		if _, err := Parse(text); err == nil {
			t.Errorf("%q was taken", text)
		} else if len(text) > 12 && strings.Contains(err.Error(), text) {
			t.Errorf("%q is quoted", text)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(argonPassword)
	f.Add(bcryptAllmine)
	f.Add("$argon2id$v=19$m=7168,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := Parse(text)
		if err != nil {
			return
		}
		if h.bcrypt == nil && (h.bounded() != nil || h.threads == 0) || h.bcrypt != nil && len(h.bcrypt) != 60 {
			t.Errorf("%q: %+v", text, h)
		}
	})
}
