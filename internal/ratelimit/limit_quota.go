package ratelimit

import (
	"strconv"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/units"
)

// Quota is a count per period. The zero value is none.
type Quota struct {
	Count   int64
	N       int            // a period is N units long
	Unit    string         // s m h d w mo
	Rolling bool           // any span of that length, not that of the calendar
	Zone    *time.Location // of the calendar
}

// periodUnits are the units of a quota, the longest that people mean by them, and how people write them instead.
var periodUnits = []struct {
	unit   string
	length time.Duration
	long   string
}{
	{"s", time.Second, "sec"}, {"mo", 31 * 24 * time.Hour, "mon"}, {"m", time.Minute, "min"}, {"h", time.Hour, "hour"},
	{"d", 24 * time.Hour, "day"}, {"w", 7 * 24 * time.Hour, "week"},
}

// UnmarshalText reads count/unit or count/n unit: 10000/d, 500/6h, 100000/mo. The units are s, m, h, d, w and mo.
func (q *Quota) UnmarshalText(text []byte) error {
	s := string(text)
	count, period, _ := strings.Cut(s, "/")
	digits := len(period) - len(strings.TrimLeft(period, "0123456789"))
	n, every := int64(1), int64(1)
	var ok, okEvery = true, true
	if n, ok = wholeNumber(count); digits > 0 {
		every, okEvery = wholeNumber(period[:digits])
	}
	for _, u := range periodUnits {
		fits := every <= int64(maxFillTime*time.Second/u.length)
		if ok && okEvery && fits && n <= maxBurst && period[digits:] == u.unit {
			*q = Quota{Count: n, N: int(every), Unit: u.unit}
			return nil
		}
	}
	return &units.Mistaken{Message: strconv.Quote(s) + " is not a quota such as 10000/d, 500/6h or 100000/mo", Meant: meantPeriod(s, period[digits:])}
}

// meantPeriod turns 10000/day into 10000/d.
func meantPeriod(text, unit string) string {
	for _, u := range periodUnits {
		if strings.HasPrefix(strings.ToLower(unit), u.long) {
			return strings.TrimSuffix(text, unit) + u.unit
		}
	}
	return ""
}

// wholeNumber reads a number above zero without sign or leading zero.
func wholeNumber(text string) (int64, bool) {
	if text == "" || text[0] == '0' || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// MarshalText writes it as it is read.
func (q Quota) MarshalText() ([]byte, error) { return []byte(q.String()), nil }

func (q Quota) String() string {
	if q.Count == 0 {
		return ""
	}
	every := ""
	if q.N > 1 {
		every = strconv.Itoa(q.N)
	}
	return strconv.FormatInt(q.Count, 10) + "/" + every + q.Unit
}
