package dedup_test

import (
	"slices"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/units"
)

// TestKeepFits: who writes one of the two times needs not know the other's default.
func TestKeepFits(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		written             []string
		answer, key         time.Duration
		wantAnswer, wantKey time.Duration
	}{
		{nil, day, 3 * day, day, 3 * day},
		{[]string{"key"}, day, time.Hour, time.Hour, time.Hour},
		{[]string{"key"}, day, 9 * day, day, 9 * day},
		{[]string{"answer"}, 5 * day, 3 * day, 5 * day, 5 * day},
		{[]string{"answer"}, time.Hour, 3 * day, time.Hour, 3 * day},
		{[]string{"answer", "key"}, 5 * day, day, 5 * day, day}, // a mistake, which Validate reports
	} {
		k := dedup.Keep{Answer: units.Duration(c.answer), Key: units.Duration(c.key)}
		k.Fit(func(name string) bool { return slices.Contains(c.written, name) })
		if k.Answer.Std() != c.wantAnswer || k.Key.Std() != c.wantKey {
			t.Errorf("%v written, %v and %v: got %v and %v", c.written, c.answer, c.key, k.Answer, k.Key)
		}
	}
}
