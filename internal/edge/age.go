package edge

import (
	"math/rand/v2"
	"time"
)

// Retires is when a connection accepted at from has lived for age, give or take a tenth, so that clients who came together don't
// all come back together. Zero: never.
func Retires(from time.Time, age time.Duration) time.Time {
	if age <= 0 {
		return time.Time{}
	}
	return from.Add(age - age/10 + rand.N(age/5+1))
}

// Retired reports that the next answer is to be the connection's last.
func Retired(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }
