package gateway

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/traffic"
)

// describeSplit says which arm of its route's split a request meets, as long as all of them work.
func describeSplit(w io.Writer, r *config.RouteConfig, x *pipeline.Exchange) {
	if len(r.To.Split) == 0 {
		return
	}
	branches := make([]traffic.Branch, len(r.To.Split))
	for i, arm := range r.To.Split {
		branches[i].Name = arm.Upstream
	}
	s, err := traffic.NewSplit(r.To, r.ID, branches, traffic.NoFlags{})
	if err != nil {
		return // it has been checked
	}
	fmt.Fprintf(w, "=> split: %s\n", s.Explain(x))
}

// versionSteps explains a route's version.
func versionSteps(r *config.RouteConfig) []Step {
	if r.Version == nil {
		return nil
	}
	return []Step{{"version", r.Version.Words()}}
}

// ended reports that the route's version has ended.
func ended(r *config.RouteConfig) bool { return r.Version != nil && r.Version.Ended(time.Now()) }

// trafficSteps explains where a route sends its requests.
func trafficSteps(doc *config.Document, r *config.RouteConfig) (steps []Step) {
	if rw := r.Rewrite; rw != nil {
		steps = append(steps, Step{"rewrite", rw.Words()})
	}
	for _, rule := range r.Fallback {
		what := "upstream " + rule.Upstream
		if rule.Respond != nil {
			what = fmt.Sprintf("a fixed answer %d", rule.Respond.Status)
		}
		steps = append(steps, Step{"fallback", "on " + strings.Join(rule.On, " ") + ": " + what})
	}
	if m := r.To.Mirror; m != nil {
		steps = append(steps, Step{"mirror", fmt.Sprintf("%s of the requests also go to %s, at most %d at once", m.Share, m.Upstream, m.InFlight)})
	}
	return append(steps, endSteps(doc, r)...)
}

func endSteps(doc *config.Document, r *config.RouteConfig) (steps []Step) {
	switch to := &r.To; {
	case to.Respond != nil:
		return []Step{{"respond", fmt.Sprintf("a fixed answer %d", to.Respond.Status)}}
	case to.Redirect != nil:
		return []Step{{"redirect", fmt.Sprintf("%d to %s", to.Redirect.Status, to.Redirect.Location)}}
	case len(to.Split) > 0:
		steps = append(steps, Step{"split", to.Words()})
	}
	for _, name := range r.To.Names() {
		u := doc.Upstreams[name]
		steps = append(steps, guardSteps(u)...)
		steps = append(steps, Step{"upstream", name + ": " + u.Words()})
	}
	return steps
}
