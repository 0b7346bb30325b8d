package ratelimit

import "time"

// epochMonday is the Monday of the ISO week of 1970-01-01, in days from it: the origin of weeks.
const (
	epochMonday = -3
	secondsADay = 86400
)

// Period is the period of the calendar that holds t: begins <= t < ends, and the next one begins where it ends. All gateways
// with the same zone data agree on it: N units are counted from 1970-01-01 (weeks from the Monday of that week) and not from
// when a process or a client began.
//
// A day begins at the first moment that shows its date, whatever its length; a day that a zone left out has no period.
// Seconds, minutes and hours begin where the zone's clock shows a multiple of N of them: an hour that the clock shows twice
// is two periods, and six hours across a change of the clock last five or seven.
func (q Quota) Period(t time.Time) (begins, ends time.Time) {
	zone := q.Zone
	if zone == nil {
		zone = time.UTC
	}
	t = t.In(zone)
	switch q.Unit {
	case "s":
		return clockPeriod(t, q.units())
	case "m":
		return clockPeriod(t, 60*q.units())
	case "h":
		return clockPeriod(t, 3600*q.units())
	}
	n := q.number(t)
	begins, ends = q.start(n, zone), q.start(n+1, zone)
	for ; !t.Before(ends); n++ { // the clock may show an earlier date once more
		begins, ends = ends, q.start(n+2, zone)
	}
	for ; t.Before(begins); n-- {
		begins, ends = q.start(n-1, zone), begins
	}
	return begins, ends
}

// Length is how long a rolling period is. A month has 31 days, so that no month of a calendar holds more than the count.
func (q Quota) Length() time.Duration {
	n := time.Duration(q.units())
	switch q.Unit {
	case "s":
		return n * time.Second
	case "m":
		return n * time.Minute
	case "h":
		return n * time.Hour
	case "w":
		return n * 7 * 24 * time.Hour
	case "mo":
		return n * 31 * 24 * time.Hour
	}
	return n * 24 * time.Hour
}

func (q Quota) units() int64 { return int64(max(1, q.N)) }

// number is which period of days, weeks or months holds the date that t shows.
func (q Quota) number(t time.Time) int64 {
	if q.Unit == "mo" {
		months := int64(t.Year()-1970)*12 + int64(t.Month()-time.January)
		return floorDiv(months, q.units())
	}
	_, offset := t.Zone()
	day := floorDiv(t.Unix()+int64(offset), secondsADay)
	if q.Unit == "w" {
		return floorDiv(day-epochMonday, 7*q.units())
	}
	return floorDiv(day, q.units())
}

// start is when period n begins.
func (q Quota) start(n int64, zone *time.Location) time.Time {
	n *= q.units()
	switch q.Unit {
	case "mo":
		date := time.Date(1970+int(floorDiv(n, 12)), time.January+time.Month(n-12*floorDiv(n, 12)), 1, 0, 0, 0, 0, time.UTC)
		return firstShown(date.Unix(), zone)
	case "w":
		return firstShown((7*n+epochMonday)*secondsADay, zone)
	}
	return firstShown(n*secondsADay, zone)
}

// firstShown is the first moment at which a zone's clock shows this or more, given as if it were a UTC time. Clocks that skip
// it show more at once; of clocks that show it twice the first time counts.
func firstShown(clock int64, zone *time.Location) time.Time {
	at := time.Unix(clock-26*3600, 0).In(zone) // before any zone on earth shows it
	for {
		after := nextChange(at)
		moment := max(at.Unix(), clock-offsetOf(at))
		if after.IsZero() || moment < after.Unix() {
			return time.Unix(moment, 0).In(zone)
		}
		at = after
	}
}

// clockPeriod tiles time at the moments when the clock shows a multiple of length seconds.
func clockPeriod(t time.Time, length int64) (begins, ends time.Time) {
	return clockBegins(t, length), clockEnds(t, length)
}

func clockBegins(t time.Time, length int64) time.Time {
	for {
		offset := offsetOf(t)
		moment := floorDiv(t.Unix()+offset, length)*length - offset
		since, _ := t.ZoneBounds()
		if since.IsZero() || moment >= since.Unix() {
			return time.Unix(moment, 0).In(t.Location())
		}
		t = since.Add(-1) // the clock was changed since: look before the change
	}
}

func clockEnds(t time.Time, length int64) time.Time {
	clock := t.Unix() + 1
	for {
		offset := offsetOf(t)
		moment := -floorDiv(-clock-offset, length)*length - offset // rounded up
		until := nextChange(t)
		if until.IsZero() || moment < until.Unix() {
			return time.Unix(moment, 0).In(t.Location())
		}
		t, clock = until, until.Unix()
	}
}

// nextChange is when the zone's offset may change next, zero for never. Past the last listed change, on the last day of a leap
// year, Go 1.26 gives a moment that is over: then look again an hour later.
func nextChange(t time.Time) time.Time {
	_, until := t.ZoneBounds()
	if !until.IsZero() && !until.After(t) {
		return t.Add(time.Hour)
	}
	return until
}

func offsetOf(t time.Time) int64 {
	_, offset := t.Zone()
	return int64(offset)
}

// floorDiv rounds towards the past also before 1970.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
