package fleet

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// TestAccuracy measures A1 to A9 and prints the table. ONCEGATE_FLEET=full plays every cell; ONCEGATE_FLEET_TABLE names a file
// that the table is written to.
func TestAccuracy(t *testing.T) {
	seed := seed(t)
	var table bytes.Buffer
	Head(&table)
	for _, n := range []int{1, 2, 8} {
		t.Run(fmt.Sprintf("gateways=%d", n), func(t *testing.T) {
			f := Open(t, binary(t), n, Single(t, false), Document{Shared: true, Limits: AccuracyLimits})
			cells := ShortCells(n)
			if full() {
				cells = FullCells(n)
			}
			for _, c := range cells {
				playCell(t, f, c, seed, &table)
			}
		})
	}
	t.Logf("\n%s", table.String())
	if path := os.Getenv("ONCEGATE_FLEET_TABLE"); path != "" {
		if err := os.WriteFile(path, table.Bytes(), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// playCell plays a cell; the table shows the last try.
func playCell(t *testing.T, f *Fleet, c Cell, seed uint64, table io.Writer) {
	t.Helper()
	var rows []Row
	fairly(t, c.String(), func(try uint64) ([]string, float64) {
		rows = c.Play(within(t, c.For), f, seed+try)
		return missesOf(rows, len(f.Gateways)), rows[0].Busy
	})
	for _, r := range rows {
		r.Write(table)
	}
}

func missesOf(rows []Row, gateways int) (all []string) {
	for _, r := range rows {
		for _, m := range r.Misses(r.Limit.Rule, r.Targets(r.Limit.Rule, r.Cell.Load, gateways)) {
			all = append(all, r.Limit.Name+": "+m)
		}
		if r.Limit.Rule.Rate >= 1000 && gateways == 8 { // hot enough for leases
			if most := map[bool]float64{true: .2, false: .4}[r.Cell.Load > 1]; r.Calls > most {
				all = append(all, fmt.Sprintf("%s: A9: %.2f calls a request, more than %.1f", r.Limit.Name, r.Calls, most))
			}
		}
	}
	return all
}

// One gateway that counts for itself is what the fleet is compared with; it needs no Redis.
func TestLocalLimitsAreExact(t *testing.T) {
	f := Open(t, binary(t), 1, Single(t, false), Document{Limits: AccuracyLimits})
	var table bytes.Buffer
	Head(&table)
	for _, c := range []Cell{{1, []int{Hundred, Five, PerMinute}, 4, 0, 1, 2 * time.Second}, {1, []int{Hundred}, .9, 0, 2, 2 * time.Second}} {
		playCell(t, f, c, seed(t), &table)
	}
	if n := f.Store.Scripts(); n != 0 {
		t.Errorf("Redis was asked %d times", n)
	}
	t.Logf("\n%s", table.String())
}

// Two gateways that each have the whole limit are what the measures must find.
func TestGatewaysThatDoNotShareAreFound(t *testing.T) {
	f := Open(t, binary(t), 2, Single(t, false), Document{Limits: AccuracyLimits})
	c := Cell{2, []int{Hundred}, 4, 0, 1, 2 * time.Second}
	row := c.Play(within(t, c.For), f, seed(t))[0]
	misses := strings.Join(missesOf([]Row{row}, 2), "; ")
	if row.Ratio < 1.8 || !strings.Contains(misses, "A1") || !strings.Contains(misses, "A2") {
		t.Errorf("%q; %+v", misses, row)
	}
}

// T5: a fleet that nobody called yet gets ten times the burst at once, on all gateways: A5.
func TestColdStart(t *testing.T) {
	rule := AccuracyLimits[Hundred].Rule
	fairly(t, "A5", func(try uint64) ([]string, float64) {
		f := Open(t, binary(t), 8, Single(t, false), Document{Shared: true, Limits: AccuracyLimits})
		defer f.Stop()
		h := f.Send(within(t, 10*time.Second), inOrder(append(Burst(0, 1000, 8, Hundred, 0), f.control(try, time.Second)...)))
		got := Judge(rule, h.Route(Hundred))
		t.Logf("A5: %d admitted of %d, an ideal bucket %d; %.1f tokens above the rule", got.Admitted, got.Offered, got.Ideal, got.Excess)
		return got.Misses(rule, got.Targets(rule, 10, 8).AtOnce()), h.Busy(f.Free())
	})
}

// control asks the route without a limit.
func (f *Fleet) control(seed uint64, d time.Duration) []Arrival {
	return Poisson(seed, len(f.Gateways), Stream{Route: f.Free(), PerSecond: freePerSecond, Clients: []int{0}, For: d})
}

// T6: gateways hold leases, pause, and get a burst: A6.
func TestIdleThenBurst(t *testing.T) {
	f := Open(t, binary(t), 8, Single(t, false), Document{Shared: true, Limits: AccuracyLimits})
	seed := seed(t)
	for _, pause := range []time.Duration{100 * time.Millisecond, 300 * time.Millisecond, 2 * time.Second} {
		for _, limit := range []int{Hundred, Thousand} {
			rule, name := AccuracyLimits[limit].Rule, fmt.Sprintf("A6: %s, %v idle", AccuracyLimits[limit].Name, pause)
			fairly(t, name, func(try uint64) ([]string, float64) {
				arrivals := Poisson(seed+try, 8, Stream{Route: limit, PerSecond: rule.Rate, Clients: []int{0}, For: time.Second})
				arrivals = append(arrivals, Burst(time.Second+pause, int(2*rule.Burst), 8, limit, 0)...)
				h := f.Send(within(t, 5*time.Second), inOrder(append(arrivals, f.control(seed+try, time.Second)...)))
				got := Judge(rule, h.Route(limit))
				t.Logf("%s: %d admitted, ideal %d, ratio %.4f; %.1f tokens above the rule", name, got.Admitted, got.Ideal, got.Ratio, got.Excess)
				return got.Misses(rule, got.Targets(rule, 2, 8).AtOnce()), h.Busy(f.Free())
			})
		}
	}
}

// T7: ten requests at once on two gateways, five tokens that never come back: five are admitted, exactly.
func TestParallelRequestsTakeExactlyTheBurst(t *testing.T) {
	d := Document{Shared: true, Limits: []Limit{{Name: "tight", Rule: Rule{1. / 3600, 5}, Spec: "rate: 1/1h, burst: 5, on_store_failure: deny"}}}
	f := Open(t, binary(t), 2, Single(t, false), d)
	exact := 0
	for range 20 {
		got := f.Send(within(t, time.Second), Burst(0, 10, 2, 0, 0)).Statuses()
		if got[200] > 5 || got[200]+got[429]+got[503] != 10 { // 503: Redis was too slow; without deny this gateway would decide alone
			t.Errorf("%v, wanted 5 of each", got)
		}
		if got[200] == 5 {
			exact++
		}
	}
	if exact < 15 { // one that waited too long for Redis is refused
		t.Errorf("exactly 5 were admitted in only %d of 20 rounds", exact)
	}
}

// T20: bursts with pauses that are much too short to fill the bucket again; an idle bucket must not be forgotten meanwhile.
func TestPausesDoNotRefillABucket(t *testing.T) {
	t.Parallel()
	rule := Rule{1, 60}
	f := Open(t, binary(t), 2, Single(t, false), Document{Shared: true, Limits: []Limit{{Name: "slow", Rule: rule, Spec: "rate: 1/s, burst: 60"}}})
	var arrivals []Arrival
	for i := range 3 {
		arrivals = append(arrivals, Burst(time.Duration(i)*3100*time.Millisecond, 100, 2, 0, 0)...)
	}
	got := Judge(rule, f.Send(within(t, 10*time.Second), arrivals))
	if got.Admitted < 64 || got.Admitted > 68 || got.Excess > 1 {
		t.Errorf("%d admitted, %.1f tokens above the rule; wanted 60 and one a second", got.Admitted, got.Excess)
	}
}
