package units

import (
	"encoding"
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// reads wants text to be read as the value that prints as shown; an empty shown means that it is refused.
func reads[T any, P interface {
	*T
	encoding.TextUnmarshaler
}](t *testing.T, text, shown string) {
	t.Helper()
	var v T
	err := P(&v).UnmarshalText([]byte(text))
	switch {
	case err != nil && shown != "":
		t.Errorf("%T %q is refused: %v", v, text, err)
	case err == nil && shown == "":
		t.Errorf("%T %q is taken as %v", v, text, v)
	case err == nil && fmt.Sprint(v) != shown:
		t.Errorf("%T %q is %v, wanted %s", v, text, v, shown)
	}
}

func TestDuration(t *testing.T) {
	for text, shown := range map[string]string{
		"250ms": "250ms", "30s": "30s", "0s": "0s", "5m": "5m", "90s": "90s", "24h": "24h", "7d": "7d", "1.5s": "1500ms", "1500us": "1500us", "60m": "1h",
		"": "", "10": "", "10sec": "", "-1s": "", "+1s": "", "1 s": "", "s": "", "1e3s": "", "NaNs": "", ".5s": "", "5.s": "", "1.2.3s": "", "99999999999d": "", "1h30m": "",
	} {
		reads[Duration](t, text, shown)
	}
	if Duration(time.Second).Std() != time.Second {
		t.Error("Std changes the value")
	}
}

func TestSize(t *testing.T) {
	for text, shown := range map[string]string{
		"512B": "512B", "16KiB": "16KiB", "8MiB": "8MiB", "1GiB": "1GiB", "1024B": "1KiB", "0B": "0B", "1025B": "1025B",
		"": "", "8": "", "8megs": "", "8MB": "", "-8MiB": "", "+8MiB": "", "1.5MiB": "", "8 MiB": "", "9999999999GiB": "", "MiB": "",
	} {
		reads[Size](t, text, shown)
	}
}

func TestRate(t *testing.T) {
	for text, shown := range map[string]string{
		"100/s": "100/s", "5000/m": "5000/m", "10000/h": "10000/h", "1/10s": "1/10s", "0.5/s": "0.5/s", "10000/d": "10000/d", "1/1h": "1/h", "100/1s": "100/s",
		"": "", "100": "", "0/s": "", "-5/s": "", "NaN/s": "", "Inf/s": "", "100/fortnight": "", "100/": "", "/s": "", "1/0s": "", "1/s/s": "",
	} {
		reads[Rate](t, text, shown)
	}
	var r Rate
	if err := r.UnmarshalText([]byte("120/m")); err != nil || r.PerSecond() != 2 {
		t.Errorf("120/m is %v a second, %v", r.PerSecond(), err)
	}
	if (Rate{}).PerSecond() != 0 || (Rate{}).String() != "" {
		t.Error("the zero rate is not nothing")
	}
}

func TestShare(t *testing.T) {
	for text, shown := range map[string]string{
		"50%": "50%", "0%": "0%", "100%": "100%", "12.5%": "12.5%", "0.1%": "0.1%",
		"": "", "50": "", "150%": "", "-1%": "", "%": "", "1e1%": "", "100.1%": "",
	} {
		reads[Share](t, text, shown)
	}
}

func TestSecretIsNeverShown(t *testing.T) {
	type holder struct{ Key Secret }
	const text = "hunter2"
	h := holder{Secret(text)}
	encoded, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{fmt.Sprint(h), fmt.Sprintf("%v %+v %#v %s", h, h, h, h.Key), string(encoded)} {
		if len(shown) == 0 || contains(shown, text) {
			t.Errorf("shown as %s", shown)
		}
	}
	if h.Key.Reveal() != text {
		t.Error("Reveal does not give it")
	}
}

func contains(s, part string) bool {
	for i := 0; i+len(part) <= len(s); i++ {
		if s[i:i+len(part)] == part {
			return true
		}
	}
	return false
}

func TestNearest(t *testing.T) {
	known := []string{"timeout", "rate_limits", "read_timeout", "jwks", "issuer", "issuers", "burst"}
	for got, want := range map[string]string{
		"read_timeuot": "read_timeout", "Timeout": "timeout", "rate_limit": "rate_limits", "jwk": "jwks", "bust": "burst", "timeouts": "timeout",
		"issuerz": "issuer", "nonsense": "", "x": "", "": "", "tiemout": "timeout",
	} {
		if near := Nearest(got, known); near != want {
			t.Errorf("%q: %q, wanted %q", got, near, want)
		}
	}
}

func TestProblemsCollectBelowTheirPath(t *testing.T) {
	root := NewProblems()
	route := root.Key("routes").Index(2)
	route.Missing("auth", "auth must be written")
	route.Key("dedup").Key("key").Unknown("word", "requird", []string{"required", "optional"})
	route.UnknownKey("rate_limts", []string{"rate_limits"})
	root.Key("version").Add("must be %d", 1)
	want := []Problem{
		{"routes[2].auth", "auth must be written", "", AtParent},
		{"routes[2].dedup.key", `unknown word "requird"`, "required", AtValue},
		{"routes[2].rate_limts", `unknown key "rate_limts"`, "rate_limits", AtKey},
		{"version", "must be 1", "", AtValue},
	}
	got := root.List()
	if len(got) != len(want) {
		t.Fatalf("%d problems: %v", len(got), got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%+v, wanted %+v", got[i], want[i])
		}
	}
}

func FuzzUnits(f *testing.F) {
	for _, seed := range []string{"250ms", "16KiB", "100/s", "20%", "1/10s", "", "-1", "1e9s"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		again[Duration](t, text)
		again[Size](t, text)
		again[Rate](t, text)
		again[Share](t, text)
	})
}

// again wants whatever is read to print as text that is read again without loss.
func again[T comparable, P interface {
	*T
	encoding.TextUnmarshaler
}](t *testing.T, text string) {
	var v, back T
	if P(&v).UnmarshalText([]byte(text)) != nil {
		return
	}
	shown := fmt.Sprint(v)
	if err := P(&back).UnmarshalText([]byte(shown)); err != nil || fmt.Sprint(back) != shown {
		t.Fatalf("%T %q prints as %s, which reads as %v, %v", v, text, shown, back, err)
	}
}

func TestInstant(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "0001-01-01T00:00:00Z",
		"2027-01-31":                "2027-01-31T00:00:00Z",
		"2027-01-31T08:00:00Z":      "2027-01-31T08:00:00Z",
		"2027-01-31T08:00:00+02:00": "2027-01-31T06:00:00Z",
	} {
		got, err := Instant(text)
		if err != nil || got.UTC().Format(time.RFC3339) != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"2027-02-30", "31.1.2027", "2027-01-31 08:00:00", "tomorrow", "2027-01-31T08:00:00"} {
		if got, err := Instant(text); err == nil {
			t.Errorf("%q is taken as %v", text, got)
		}
	}
}
