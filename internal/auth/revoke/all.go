package revoke

import (
	"math"
	"time"
)

// All gives the entries that are not over, in no order.
func (l *List) All(now time.Time) []Entry {
	all := make([]Entry, 0, l.Len())
	for i := range l.parts {
		part := l.parts[i].Load()
		if part == nil {
			continue
		}
		for n, m := range *part {
			if m.until > unix(now) {
				all = append(all, n.entry(m))
			}
		}
	}
	return all
}

// entry is the opposite of Entry.name. Times come back to the microsecond.
func (n name) entry(m mark) Entry {
	e := Entry{Issuer: n.issuer, Until: moment(m.until)}
	switch n.kind {
	case byID:
		e.ID = n.value
	case bySession:
		e.Session = n.value
	case bySubject:
		e.Subject, e.Before = n.value, moment(m.before)
	}
	return e
}

func moment(seconds float64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(math.Round(seconds * 1e6)))
}
