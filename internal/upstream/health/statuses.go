package health

import (
	"fmt"
	"strconv"
	"strings"
)

// Statuses is a set of statuses, 100 to 599.
type Statuses [8]uint64

// Has tells whether a status is in the set.
func (s *Statuses) Has(status int) bool {
	i := status - 100
	return i >= 0 && i < 500 && s[i/64]&(1<<(i%64)) != 0
}

// ParseStatuses reads a list of statuses and ranges: 200-299, 200,204 or 200-299,401.
func ParseStatuses(text string) (s Statuses, err error) {
	for _, part := range strings.Split(text, ",") {
		low, high, ranged := strings.Cut(strings.TrimSpace(part), "-")
		if !ranged {
			high = low
		}
		from, err1 := strconv.Atoi(strings.TrimSpace(low))
		to, err2 := strconv.Atoi(strings.TrimSpace(high))
		if err1 != nil || err2 != nil || from < 100 || to > 599 || from > to {
			return s, fmt.Errorf("%q is not a list of statuses such as 200-299 or 200,204", text)
		}
		for i := from - 100; i <= to-100; i++ {
			s[i/64] |= 1 << (i % 64)
		}
	}
	return s, nil
}
