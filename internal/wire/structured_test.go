package wire

import (
	"bytes"
	"strings"
	"testing"
)

func TestParseKey(t *testing.T) {
	for value, want := range map[string]string{
		"abc": "abc", `"abc"`: "abc", ` "abc" `: "abc", "8e03978e-40d5-43e8-bc93-6894a57f9324": "8e03978e-40d5-43e8-bc93-6894a57f9324",
		"a+b/c==": "a+b/c==", "a:b?c": "a:b?c", `a\b`: `a\b`, `"a,b;c"`: "a,b;c", `"a\"b\\c"`: `a"b\c`, `"\\"`: `\`, strings.Repeat("k", 255): strings.Repeat("k", 255),
		`"` + strings.Repeat("k", 255) + `"`: strings.Repeat("k", 255), `"` + strings.Repeat(`\"`, 255) + `"`: strings.Repeat(`"`, 255),
	} {
		if key, ok := ParseKey([]byte(value)); !ok || string(key) != want {
			t.Errorf("%q: %q, %t", value, key, ok)
		}
	}
	for _, value := range []string{"", " ", `"`, `""`, "a b", `"a b"`, "a,b", `"a", "b"`, `"a","b"`, "a;p=1", `"a";p=1`, `"abc`, `abc"`, `a"b`, `"a"b"`, `"a"b`, `"a\"`, `"a\x"`,
		`"\\\"`, "\"a\tb\"", "a\x01", "\"\x7f\"", "\xc3\xa9", "\"\xc3\xa9\"", strings.Repeat("k", 256), `"` + strings.Repeat("k", 256) + `"`,
		`"` + strings.Repeat(`\"`, 256) + `"`, `"` + strings.Repeat(`\\`, 5000) + `"`} {
		if key, ok := ParseKey([]byte(value)); ok || key != nil {
			t.Errorf("%q gives %q", value, key)
		}
	}
}

func TestAppendString(t *testing.T) {
	for s, want := range map[string]string{"": `""`, "per-client": `"per-client"`, `a"b\c`: `"a\"b\\c"`, "a\r\nb\x00\x7f": `"a??b??"`, "é": `"??"`, " ~": `" ~"`} {
		if got := AppendString([]byte("x="), s); string(got) != "x="+want {
			t.Errorf("%q: %s", s, got)
		}
	}
}

// A key that is accepted reads the same when it is written as a string, and bare where that is possible.
func FuzzKey(f *testing.F) {
	for _, seed := range []string{"abc", `"a\"b"`, `"a";p`, "a,b", `"\\`, `"a\\" "`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		sent := bytes.Clone(value)
		key, ok := ParseKey(value)
		if !bytes.Equal(sent, value) {
			t.Fatal("the value was changed")
		}
		if !ok {
			return
		}
		if !ValidRequestID(key[:min(len(key), 128)]) || len(key) > 255 {
			t.Fatalf("key %q", key)
		}
		if again, ok := ParseKey(AppendString(nil, string(key))); !ok || !bytes.Equal(again, key) {
			t.Fatalf("%q as a string reads %q", key, again)
		}
		if !bytes.ContainsAny(key, `",;`) {
			if again, ok := ParseKey(key); !ok || !bytes.Equal(again, key) {
				t.Fatalf("%q bare reads %q", key, again)
			}
		}
	})
}

func TestQueryHas(t *testing.T) {
	for _, c := range []struct {
		query, name, value string
		want               bool
	}{
		{"beta=1", "beta", "1", true}, {"v=2&beta=1", "beta", "1", true}, {"beta=2&beta=1", "beta", "1", true}, {"bet%61=%31", "beta", "1", true},
		{"a+b=c%20d+", "a b", "c d ", true}, {"q=%c3%A9", "q", "é", true}, {"q=%zz", "q", "%zz", true}, {"q=%4", "q", "%4", true}, {"q=%", "q", "%", true},
		{"q=a=b", "q", "a=b", true}, {"q=a%26b", "q", "a&b", true}, {"beta", "beta", "", true}, {"beta=", "beta", "", true}, {"&&beta=1&", "beta", "1", true},
		{"a%2Bb=1", "a+b", "1", true}, {"q=%00", "q", "\x00", true},
		{"", "beta", "", false}, {"Beta=1", "beta", "1", false}, {"beta=11", "beta", "1", false}, {"beta=", "beta", "1", false}, {"bet=1", "beta", "1", false},
		{"beta;x=1", "x", "1", false}, {"q=a&b", "q", "a&b", false}, {"q=%25zz", "q", "%25zz", false}, {"&", "", "", false}, {"xbeta=1", "beta", "1", false},
	} {
		if QueryHas([]byte(c.query), c.name, c.value) != c.want {
			t.Errorf("%q has %q=%q: not %t", c.query, c.name, c.value, c.want)
		}
	}
}
