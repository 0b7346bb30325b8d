// Package units holds the scalar types of the document (durations, sizes, rates, shares, secrets) and the list in which
// problems of a document are collected. Each type reads and writes the text of the contract and nothing else: a number
// without its unit is an error, so that "timeout: 10" can't mean ten nanoseconds.
package units

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time: 250ms, 30s, 5m, 24h, 7d. Never negative.
type Duration time.Duration

var durationUnits = []struct {
	suffix string
	unit   time.Duration
}{{"ms", time.Millisecond}, {"us", time.Microsecond}, {"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"d", 24 * time.Hour}}

// UnmarshalText reads one number (decimals allowed) with one unit.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	for _, u := range durationUnits {
		number, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := parseNumber(number)
		if err != nil || n*float64(u.unit) > math.MaxInt64/2 {
			break
		}
		*d = Duration(math.Round(n * float64(u.unit)))
		return nil
	}
	return fmt.Errorf("%q is not a duration such as 250ms, 30s, 5m, 24h or 7d", s)
}

// MarshalText writes the largest unit that keeps the value whole.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

func (d Duration) String() string {
	v := time.Duration(d)
	if v == 0 {
		return "0s"
	}
	for i := len(durationUnits) - 1; i >= 2; i-- {
		if u := durationUnits[i]; v%u.unit == 0 && (u.suffix != "d" || v >= 48*time.Hour) {
			return strconv.FormatInt(int64(v/u.unit), 10) + u.suffix
		}
	}
	if v%time.Millisecond == 0 {
		return strconv.FormatInt(int64(v/time.Millisecond), 10) + "ms"
	}
	return strconv.FormatFloat(float64(v)/float64(time.Microsecond), 'f', -1, 64) + "us"
}

// Std is the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Size is a number of bytes: 512B, 16KiB, 8MiB, 1GiB.
type Size int64

var sizeUnits = []struct {
	suffix string
	unit   int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// UnmarshalText reads a whole number with a unit.
func (z *Size) UnmarshalText(text []byte) error {
	s := string(text)
	for _, u := range sizeUnits {
		number, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n < 0 || number[0] == '+' || n > math.MaxInt64/2/u.unit {
			break
		}
		*z = Size(n * u.unit)
		return nil
	}
	return fmt.Errorf("%q is not a size such as 512B, 16KiB, 8MiB or 1GiB", s)
}

// MarshalText writes the largest unit that keeps the value whole.
func (z Size) MarshalText() ([]byte, error) { return []byte(z.String()), nil }

func (z Size) String() string {
	for _, u := range sizeUnits {
		if int64(z)%u.unit == 0 && z != 0 {
			return strconv.FormatInt(int64(z)/u.unit, 10) + u.suffix
		}
	}
	return "0B"
}

// Rate is a number of events in a length of time: 100/s, 5000/m, 10000/h, 1/10s. Always above zero.
type Rate struct {
	Count float64
	Per   time.Duration
}

// UnmarshalText reads count/unit or count/duration.
func (r *Rate) UnmarshalText(text []byte) error {
	s := string(text)
	count, per, ok := strings.Cut(s, "/")
	if !ok {
		return fmt.Errorf("%q is not a rate such as 100/s, 5000/m or 1/10s", s)
	}
	n, err := parseNumber(count)
	if err != nil || n <= 0 || per == "" {
		return fmt.Errorf("%q is not a rate above zero such as 100/s, 5000/m or 1/10s", s)
	}
	if per[0] < '0' || per[0] > '9' {
		per = "1" + per
	}
	var d Duration
	if d.UnmarshalText([]byte(per)) != nil || d == 0 {
		return fmt.Errorf("%q is not a rate such as 100/s, 5000/m or 1/10s", s)
	}
	*r = Rate{n, d.Std()}
	return nil
}

// MarshalText writes it as it is read.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func (r Rate) String() string {
	if r.Per == 0 {
		return ""
	}
	per := Duration(r.Per).String()
	if per == "24h" {
		per = "1d"
	}
	if rest, ok := strings.CutPrefix(per, "1"); ok && (rest[0] < '0' || rest[0] > '9') && rest[0] != '.' {
		per = rest
	}
	return strconv.FormatFloat(r.Count, 'f', -1, 64) + "/" + per
}

// PerSecond is the rate in events per second.
func (r Rate) PerSecond() float64 {
	if r.Per == 0 {
		return 0
	}
	return r.Count / r.Per.Seconds()
}

// Share is a part of a whole, 0 to 1: 20%.
type Share float64

// UnmarshalText reads a percentage from 0% to 100%.
func (h *Share) UnmarshalText(text []byte) error {
	number, ok := strings.CutSuffix(string(text), "%")
	n, err := parseNumber(number)
	if !ok || err != nil || n > 100 {
		return fmt.Errorf("%q is not a share from 0%% to 100%%", text)
	}
	*h = Share(n / 100)
	return nil
}

// MarshalText writes a percentage.
func (h Share) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

func (h Share) String() string {
	return strconv.FormatFloat(math.Round(float64(h)*1e8)/1e6, 'f', -1, 64) + "%"
}

// Secret is text that is never shown: it prints as [redacted] in every format.
type Secret string

const redacted = "[redacted]"

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString keeps %#v from showing it.
func (s Secret) GoString() string { return s.String() }

// MarshalText writes the redacted form.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes any text.
func (s *Secret) UnmarshalText(text []byte) error { *s = Secret(text); return nil }

// Reveal gives the secret itself.
func (s Secret) Reveal() string { return string(s) }

// parseNumber reads a plain decimal number: digits, at most one point. No sign, exponent, NaN or Inf.
func parseNumber(s string) (float64, error) {
	if s == "" || strings.Trim(s, "0123456789.") != "" || s[0] == '.' || s[len(s)-1] == '.' {
		return 0, fmt.Errorf("not a number")
	}
	return strconv.ParseFloat(s, 64)
}
