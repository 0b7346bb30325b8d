package units

import (
	"fmt"
	"time"
)

// Instant reads a date, which begins at midnight UTC, or a time of RFC 3339. "" is the zero time.
func Instant(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("%q is not a time such as 2027-01-31 or 2027-01-31T08:00:00Z", text)
	}
	return t, nil
}
