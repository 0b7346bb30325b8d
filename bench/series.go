package main

import (
	"fmt"
	"slices"
	"time"
)

// series is what one row measured, round by round.
type series struct {
	name   string
	run    func() (pace, error)
	rounds []pace
}

// interleave runs all rows in turn, for as many rounds; one more before them warms up.
func (b *bench) interleave(rows ...*series) error {
	for round := range b.rounds + 1 {
		for _, s := range rows {
			p, err := s.run()
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			if round > 0 {
				s.rounds = append(s.rounds, p)
			}
		}
	}
	return nil
}

// percentile of all operations of all rounds.
func (s *series) percentile(p float64) time.Duration {
	var all []time.Duration
	for _, r := range s.rounds {
		all = append(all, r.each...)
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(int(p*float64(len(all))), len(all)-1)]
}

func (s *series) print(unit string) {
	fmt.Printf("  %-46s %8.0f %s   p50 %8.2f ms   p99 %8.2f ms\n", s.name, middle(s.values(pace.perSecond)), unit, ms(s.percentile(.5)), ms(s.percentile(.99)))
}

func (s *series) values(f func(pace) float64) (all []float64) {
	for _, r := range s.rounds {
		all = append(all, f(r))
	}
	return all
}

// ratio prints how many times as much a second s did as to, as the median of the rounds.
func (s *series) ratio(to *series) {
	ratios := make([]float64, len(s.rounds))
	for i := range ratios {
		ratios[i] = s.rounds[i].perSecond() / to.rounds[i].perSecond()
	}
	slices.Sort(ratios)
	fmt.Printf("  ratio %.2f (%.2f to %.2f): %s / %s\n", middle(ratios), ratios[0], ratios[len(ratios)-1], s.name, to.name)
}

func middle(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
