package ratelimit

import (
	"math/rand/v2"
	"testing"
	"time"
)

// zone skips nothing on machines without zone data: the test data of Go's own tree is enough.
func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Skipf("no zone data: %v", err)
	}
	return loc
}

var zonesWithOddities = []string{
	"UTC", "Europe/Berlin", "America/New_York",
	"America/Santiago", "Africa/Cairo", // the clock skips midnight
	"America/Havana", "Atlantic/Azores", // the clock shows midnight twice
	"Pacific/Apia", "Pacific/Kwajalein", // a whole day was left out
	"Australia/Lord_Howe", "Asia/Kathmandu", // half hours, quarters
	"America/Toronto", // changed its clock at one minute past midnight
	"Africa/Monrovia", // was 44 minutes and 30 seconds off until 1972
	"Asia/Manila", "America/Caracas",
}

// Edge case 36: over changes of the clock, leap days and ends of months the periods tile time: none overlap, none leave a gap,
// and every moment of a period gives the same period.
func TestPeriodsTile(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 6))
	moment := func() time.Time { return time.Unix(r.Int64N(170*366*86400)-70*366*86400, r.Int64N(1e9)) } // 1900 to 2070
	for _, name := range zonesWithOddities {
		loc := zone(t, name)
		for _, unit := range []string{"s", "m", "h", "d", "w", "mo"} {
			for _, n := range []int{1, 2, 3, 5, 6, 7, 12, 90} {
				q := Quota{Count: 1, N: n, Unit: unit, Zone: loc}
				for range 12 {
					at := moment()
					if _, until := at.In(loc).ZoneBounds(); !until.IsZero() && r.IntN(3) > 0 {
						at = until.Add(time.Duration(r.Int64N(int64(60*time.Hour))) - 30*time.Hour)
					}
					checkTile(t, q, at, r)
				}
			}
		}
	}
}

func checkTile(t *testing.T, q Quota, at time.Time, r *rand.Rand) {
	t.Helper()
	begins, ends := q.Period(at)
	if at.Before(begins) || !at.Before(ends) {
		t.Fatalf("%d%s in %v: %v is not in [%v, %v)", q.N, q.Unit, q.Zone, at, begins, ends)
	}
	within := begins.Add(time.Duration(r.Int64N(int64(ends.Sub(begins)))))
	for _, other := range []time.Time{begins, within, ends.Add(-1)} {
		if b, e := q.Period(other); !b.Equal(begins) || !e.Equal(ends) {
			t.Fatalf("%d%s in %v: %v gives [%v, %v), %v gives [%v, %v)", q.N, q.Unit, q.Zone, at, begins, ends, other, b, e)
		}
	}
	if next, _ := q.Period(ends); !next.Equal(ends) {
		t.Fatalf("%d%s in %v: the period after %v begins at %v", q.N, q.Unit, q.Zone, ends, next)
	}
	if _, last := q.Period(begins.Add(-1)); !last.Equal(begins) {
		t.Fatalf("%d%s in %v: the period before %v ends at %v", q.N, q.Unit, q.Zone, begins, last)
	}
}

// Edge case 36: what people expect of days, weeks, months and hours in named zones.
func TestPeriods(t *testing.T) {
	for _, c := range []struct{ zone, n, at, begins, ends string }{
		{"UTC", "1d", "2026-11-23T12:20:37Z", "2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"},
		{"UTC", "1d", "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"},
		{"UTC", "1w", "2026-11-29T23:59:59Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"}, // Sunday belongs to Monday's week
		{"UTC", "1w", "2027-01-01T00:00:00Z", "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"}, // ISO week 53
		{"UTC", "1mo", "2024-02-29T10:00:00Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"},
		{"UTC", "3mo", "2026-11-23T10:00:00Z", "2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"UTC", "12mo", "2026-11-23T10:00:00Z", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"UTC", "6h", "2026-11-23T12:20:37Z", "2026-11-23T12:00:00Z", "2026-11-23T18:00:00Z"},
		{"UTC", "1mo", "1969-12-31T23:00:00Z", "1969-12-01T00:00:00Z", "1970-01-01T00:00:00Z"},
		{"Europe/Berlin", "1d", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"}, // 23 hours
		{"Europe/Berlin", "1d", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"}, // 25 hours
		{"Europe/Berlin", "1h", "2026-10-25T00:30:00Z", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"}, // 02:30 the first time
		{"Europe/Berlin", "1h", "2026-10-25T01:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"}, // and once more
		{"Europe/Berlin", "6h", "2026-10-25T01:30:00Z", "2026-10-24T22:00:00Z", "2026-10-25T05:00:00Z"}, // 7 hours to 06:00
		{"Europe/Berlin", "6h", "2026-03-29T03:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T04:00:00Z"}, // 5 hours to 06:00
		{"Asia/Kathmandu", "1h", "2026-11-23T12:20:00Z", "2026-11-23T12:15:00Z", "2026-11-23T13:15:00Z"},
		{"America/Santiago", "1d", "2026-09-06T12:00:00Z", "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"}, // begins at 01:00
		{"America/Havana", "1d", "2026-11-01T12:00:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"},   // 00:00 the first time
		{"Pacific/Apia", "1d", "2011-12-30T09:00:00Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"},     // the 29th
		{"Pacific/Apia", "1d", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"},     // the 31st
	} {
		q := Quota{Unit: trimDigits(c.n), N: digits(c.n), Zone: zone(t, c.zone)}
		at, _ := time.Parse(time.RFC3339, c.at)
		begins, ends := q.Period(at)
		if got := [2]string{begins.UTC().Format(time.RFC3339), ends.UTC().Format(time.RFC3339)}; got != [2]string{c.begins, c.ends} {
			t.Errorf("%s in %s at %s: %v, want %s to %s", c.n, c.zone, c.at, got, c.begins, c.ends)
		}
	}
	if b, _ := (Quota{Unit: "d"}).Period(time.Unix(86400*9+5, 0)); b.Unix() != 86400*9 {
		t.Errorf("without N and zone: %v", b)
	}
}

func digits(s string) (n int) {
	for ; s[0] <= '9'; s = s[1:] {
		n = n*10 + int(s[0]-'0')
	}
	return n
}

func trimDigits(s string) string {
	for s[0] <= '9' {
		s = s[1:]
	}
	return s
}

// A rolling month is as long as the longest one.
func TestLength(t *testing.T) {
	for text, hours := range map[string]float64{"90s": 0.025, "30m": 0.5, "6h": 6, "2d": 48, "1w": 168, "1mo": 744} {
		if got := (Quota{N: digits(text), Unit: trimDigits(text)}).Length().Hours(); got != hours {
			t.Errorf("%s: %v hours, want %v", text, got, hours)
		}
	}
}

func BenchmarkPeriod(b *testing.B) {
	q, at := Quota{N: 1, Unit: "d", Zone: zone(b, "Europe/Berlin")}, time.Date(2026, 10, 25, 3, 0, 0, 0, time.UTC)
	for b.Loop() {
		q.Period(at)
	}
}
