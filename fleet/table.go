package fleet

import (
	"fmt"
	"io"
	"math"
	"time"
)

// Head writes the head of the table of docs/rate-limits.md.
func Head(w io.Writer) {
	fmt.Fprintln(w, "| Gateways | Limit | Load | Traffic | Offered | Admitted | A1 ratio | A2 excess | A3 false | A4 worst windows | A8 gateways, clients | A9 calls | p50, p99 ms | without a limit | Busy |")
	fmt.Fprintln(w, "| ---: | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | --- | --- | ---: | --- | --- | ---: |")
}

// Write writes a row.
func (r Row) Write(w io.Writer) {
	traffic := "even"
	if r.Cell.Skew > 0 {
		traffic = fmt.Sprintf("%.0f %% on one", 100*r.Cell.Skew)
	}
	if r.Cell.Clients > 1 {
		traffic += fmt.Sprintf(", %d clients", r.Cell.Clients)
	}
	fmt.Fprintf(w, "| %d | %s | %gx | %s | %d | %d | %.4f | %s | %s | %s | %.3f, %.3f | %.2f | %s, %s | %s, %s | %.1f %% |\n",
		r.Cell.Gateways, r.Limit.Name, r.Cell.Load, traffic, r.Offered, r.Admitted, r.Ratio, r.excess(), r.false(), r.worst(),
		r.ByGateway, r.ByClient, r.Calls, ms(r.P50), ms(r.P99), ms(r.FreeP50), ms(r.FreeP99), 100*r.Busy)
}

// excess is in tokens and in percent of the burst; 0 when the rule was kept.
func (r Row) excess() string {
	tokens := math.Max(0, r.Excess)
	return fmt.Sprintf("%.1f (%.1f %%)", tokens, 100*tokens/r.Limit.Rule.Burst)
}

func (r Row) false() string {
	if r.Cell.Load > .9 {
		return ""
	}
	return fmt.Sprintf("%.2f %%", 100*r.False)
}

func (r Row) worst() (s string) {
	for i, w := range r.Worst {
		if i > 0 {
			s += ", "
		}
		s += fmt.Sprintf("%.0fs %.3f", w.Span.Seconds(), w.Ratio)
	}
	return s
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }
