package units

import "strings"

// Nearest gives the known word that is most like got, or "" when none is near: at most a third of the letters, and at most
// three, may have to change (Damerau-Levenshtein, letter case aside). Ties go to the earlier word. A word that continues
// got, or that got continues, is near as well: jwk, jwks.
func Nearest(got string, known []string) string {
	best, bestDistance := "", 4
	low := strings.ToLower(got)
	for _, word := range known {
		other := strings.ToLower(word)
		d := distance(low, other)
		limit := min(3, max(len(low), len(other))/3)
		if strings.HasPrefix(other, low) || strings.HasPrefix(low, other) {
			limit = min(3, max(1, len(low)/2))
		}
		if d <= limit && d < bestDistance {
			best, bestDistance = word, d
		}
	}
	return best
}

// distance counts insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
