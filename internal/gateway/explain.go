package gateway

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/routes"
)

// Step is one layer of a plan, in words.
type Step struct {
	Layer, Words string
}

// Steps tells what the layers of a route do, in the order of stack.go. Nothing is opened and nothing is asked.
func Steps(doc *config.Document, r *config.RouteConfig) []Step {
	steps := []Step{
		{"deadline", "the answer's head within " + r.Timeout.String()},
		{"admit", "a body of at most " + r.Body.String()},
		{"auth", strings.Join(auth.Explain(*r.Auth, forward(r)), "; ")},
	}
	for _, name := range r.RateLimits {
		l := doc.RateLimits[name]
		steps = append(steps, Step{"limit", fmt.Sprintf("%s: %s, burst %d, by %s", name, l.Rate, l.Burst, l.By)})
	}
	if d := r.Dedup; d != nil {
		scope := d.Scope
		if scope == "" {
			scope = r.To
		}
		steps = append(steps, Step{"dedup", fmt.Sprintf("key %s for %s, scope %s, answers kept %s, keys %s",
			d.Key, strings.Join(d.Methods, " "), scope, d.Keep.Answer, d.Keep.Key)})
	} else {
		steps = append(steps, Step{"dedup", "none; a key passes with Idempotency-Status: ignored"})
	}
	u := doc.Upstreams[r.To]
	if b := u.Breaker; b != nil {
		steps = append(steps, Step{"breaker", fmt.Sprintf("opens for %s at %s failures of at least %d calls in %s", b.Open, b.FailureRate, b.Minimum, b.Window)})
	} else {
		steps = append(steps, Step{"breaker", "none"})
	}
	targets := make([]string, len(u.Targets))
	for i, t := range u.Targets {
		targets[i] = t.URL
	}
	return append(steps, Step{"upstream", r.To + ": " + strings.Join(targets, " ")})
}

// Describe writes the plan of each route.
func Describe(w io.Writer, doc *config.Document) {
	for i := range doc.Routes {
		describeRoute(w, doc, &doc.Routes[i])
	}
}

func describeRoute(w io.Writer, doc *config.Document, r *config.RouteConfig) {
	fmt.Fprintf(w, "route %s: %s\n", r.ID, matchWords(r.Match))
	for i, s := range Steps(doc, r) {
		fmt.Fprintf(w, "  %d. %-9s %s\n", i+1, s.Layer, s.Words)
	}
}

func matchWords(m routes.Match) string {
	words := []string{m.Path}
	if len(m.Methods) > 0 {
		words = append([]string{strings.Join(m.Methods, ",")}, words...)
	}
	if len(m.Hosts) > 0 {
		words = append(words, "host "+strings.Join(m.Hosts, ","))
	}
	if len(m.Headers) > 0 {
		words = append(words, fmt.Sprintf("%d header conditions", len(m.Headers)))
	}
	if len(m.Query) > 0 {
		words = append(words, fmt.Sprintf("%d query conditions", len(m.Query)))
	}
	return strings.Join(words, " ")
}

// Explain writes which route a request meets and what each layer would do with it. It returns the refusal that the request
// would get before any limit, record or upstream is asked; NotFound and MethodNotAllowed when no route takes it.
func Explain(w io.Writer, doc *config.Document, x *pipeline.Exchange, logger *slog.Logger) error {
	rules := make([]routes.Rule[*config.RouteConfig], len(doc.Routes))
	for i := range doc.Routes {
		rules[i] = routes.Rule[*config.RouteConfig]{ID: doc.Routes[i].ID, Match: doc.Routes[i].Match, Value: &doc.Routes[i]}
	}
	table, _ := routes.New(rules)
	r, result, allow := table.Find(x.Request, &x.Params)
	switch result {
	case routes.NotFound:
		fmt.Fprintln(w, "no route: 404 not-found")
		return pipeline.NotFound
	case routes.WrongMethod:
		fmt.Fprintf(w, "no route takes this method: 405 method-not-allowed, Allow: %s\n", allow)
		return pipeline.MethodNotAllowed
	case routes.Options:
		fmt.Fprintf(w, "answered by the gateway: 204, Allow: %s\n", allow)
		return nil
	}
	x.Route = r.ID
	describeRoute(w, doc, r)
	words, verdict := decide(doc, r, x, logger)
	if verdict != nil {
		kind := pipeline.KindOf(verdict)
		fmt.Fprintf(w, "=> auth refuses: %d %s: %s\n", kind.Status(), kind.Slug(), words)
		return verdict
	}
	who := "anonymous"
	if !x.Client.Anonymous() {
		who = x.Client.Subject + " of issuer " + x.Client.Issuer
	}
	fmt.Fprintf(w, "=> auth passes as %s; then limits, dedup and breaker decide by their state; then upstream %s\n", who, r.To)
	return nil
}

// decide runs the real auth layer, and gives the words that a client never sees.
func decide(doc *config.Document, r *config.RouteConfig, x *pipeline.Exchange, logger *slog.Logger) (string, error) {
	issuers := make(map[string]auth.IssuerConfig, len(r.Auth.Issuers))
	for _, name := range r.Auth.Issuers {
		issuers[name] = doc.Issuers[name]
	}
	authority, err := auth.NewAuthority(issuers, nil, auth.Deps{Logger: logger})
	if err != nil {
		return err.Error(), err
	}
	defer authority.Close()
	words, _ := auth.Decide(*r.Auth, authority, x.Request.Header("Authorization"))
	layer, err := auth.New(*r.Auth, forward(r), authority)
	if err != nil {
		return err.Error(), err
	}
	end := pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { return nil })
	return words, pipeline.Compose(end, layer).Serve(context.Background(), x)
}
