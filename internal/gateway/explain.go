package gateway

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/auth/dpop"
	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/routes"
	"github.com/oncegate/oncegate/internal/wire"
)

// Step is one layer of a plan, in words.
type Step struct {
	Layer, Words string
}

// Steps tells what the layers of a route do, in the order of stack.go. Nothing is opened and nothing is asked.
func Steps(doc *config.Document, r *config.RouteConfig) []Step {
	steps := append(append(doorSteps(doc, r), versionSteps(r)...),
		Step{"deadline", "the answer's head within " + r.Timeout.String()},
	)
	if r.Mode == config.Shadow {
		steps = append(steps, Step{"mode", "shadow: the route's limits, breaker and bulkhead count and refuse nothing"})
	}
	if s := doc.Shedding; s.InFlight > 0 || s.Adaptive {
		steps = append(steps, Step{"shed", "priority " + r.Priority + ", " + s.Words()})
	}
	steps = append(steps, Step{"admit", "a body of at most " + r.Body.String()})
	if r.FailedLogins != "" {
		l := doc.RateLimits[r.FailedLogins]
		steps = append(steps, Step{"logins", "refused credentials count, " + r.FailedLogins + ": " + l.Words()})
	}
	steps = append(steps, Step{"auth", strings.Join(append(auth.Explain(*r.Auth, forward(r)), auth.ExplainIssuers(*r.Auth, doc.Issuers)...), "; ")})
	for _, use := range r.RateLimits {
		l := doc.RateLimits[use.Name]
		words := use.Name + ": " + l.Words()
		if use.Cost != nil {
			words += fmt.Sprintf(", a request costs %d", *use.Cost)
		}
		steps = append(steps, Step{"limit", words})
	}
	if d := r.Dedup; d != nil {
		scope := d.Scope
		if scope == "" {
			scope = firstOf(r.To.Names())
		}
		steps = append(steps, Step{"dedup", fmt.Sprintf("key %s for %s, scope %s, answers kept %s, keys %s%s",
			d.Key, strings.Join(d.Methods, " "), scope, d.Keep.Answer, d.Keep.Key, dedupExtras(d))})
	} else {
		steps = append(steps, Step{"dedup", "none; a key passes with Idempotency-Status: ignored"})
	}
	return append(steps, trafficSteps(doc, r)...)
}

// whereTo names the end of a plan.
func whereTo(r *config.RouteConfig) string {
	switch names := r.To.Names(); {
	case r.To.Respond != nil:
		return "a fixed answer"
	case r.To.Redirect != nil:
		return "a redirect"
	case len(names) > 1:
		return "one of the upstreams " + strings.Join(names, ", ")
	default:
		return "upstream " + firstOf(names)
	}
}

// dedupExtras are the words for what a route says beyond the usual.
func dedupExtras(d *dedup.Config) string {
	words := ""
	if d.Wait > 0 {
		words += ", duplicates wait " + d.Wait.String()
	}
	if d.UpstreamDedup {
		words += ", an unknown outcome is sent again with the same key"
	}
	if d.StatusCheck != nil {
		words += ", an unknown outcome is asked about"
	}
	if d.PerClient != nil && d.PerClient.NewKeys.Count > 0 {
		words += ", at most " + d.PerClient.NewKeys.String() + " new keys a client"
	}
	if d.OnStoreFailure == "allow" {
		words += ", unprotected while the store fails"
	}
	return words
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
	x.Request.Strip(guardedNames(doc))
	if answered, err := explainPreflight(w, doc, table, x); answered {
		return err
	}
	r, result, allow := table.Find(x.Request, &x.Params)
	switch result {
	case routes.NotFound:
		fmt.Fprintln(w, "no route: 404 not-found")
		describeOthers(w, table.Explain(x.Request), "")
		return pipeline.NotFound
	case routes.WrongMethod:
		fmt.Fprintf(w, "no route takes this method: 405 method-not-allowed, Allow: %s\n", allow)
		describeOthers(w, table.Explain(x.Request), "")
		return pipeline.MethodNotAllowed
	case routes.Options:
		fmt.Fprintf(w, "answered by the gateway: 204, Allow: %s\n", allow)
		return nil
	}
	x.Route = r.ID
	describeRoute(w, doc, r)
	describeOthers(w, table.Explain(x.Request), r.ID)
	describeOrigin(w, r, x)
	if ended(r) {
		fmt.Fprintln(w, "=> version: it has ended: 410 gone")
		return pipeline.Gone
	}
	if err := forwarded(x, admit(int64(*r.Body))); err != nil {
		kind := pipeline.KindOf(err)
		fmt.Fprintf(w, "=> admit refuses: %d %s: a body of %d bytes, at most %s\n", kind.Status(), kind.Slug(), x.Request.ContentLength(), r.Body)
		return err
	}
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
	fmt.Fprintf(w, "=> auth passes as %s\n", who)
	words, verdict = keyed(r.Dedup, x)
	fmt.Fprintf(w, "=> dedup: %s\n", words)
	if verdict == nil {
		describeSplit(w, r, x)
		fmt.Fprintf(w, "=> limits, records and breaker decide by their state; then %s\n", whereTo(r))
	}
	return verdict
}

// describeOthers says why the other routes whose host and path fit the request don't take it.
func describeOthers(w io.Writer, candidates []routes.Candidate, taker string) {
	for _, c := range candidates {
		if c.ID == taker {
			continue
		}
		why := string(c.Verdict)
		if c.Detail != "" {
			why += ": " + c.Detail
		}
		fmt.Fprintf(w, "  not route %s (%s): %s\n", c.ID, c.Path, why)
	}
}

// keyed says whether the request is a keyed write of its route, as the layer itself judges it.
func keyed(d *dedup.Config, x *pipeline.Exchange) (string, error) {
	if d == nil && x.Request.Header("Idempotency-Key") == nil {
		return "the route protects no writes", nil
	}
	if d == nil {
		return "the route protects no writes; the key passes with Idempotency-Status: ignored", nil
	}
	key, protected, refusal := d.KeyOf(x.Request)
	switch {
	case !protected:
		return fmt.Sprintf("%s is not among %s: passes unprotected", x.Request.Method(), strings.Join(d.Methods, " ")), nil
	case refusal != 0:
		return fmt.Sprintf("refuses: %d %s", refusal.Status(), refusal.Slug()), refusal
	case key == nil:
		return "no key, which is optional: passes unprotected", nil
	}
	if _, ok := d.ClientOf(x); !ok {
		return "refuses: 400 bad-request: nobody is named whose key it is, client: " + d.Client, pipeline.BadRequest
	}
	return "the key is claimed, or its record answers", nil
}

// guardedNames are the fields that no client can send.
func guardedNames(doc *config.Document) *wire.Names {
	var forwards []auth.ForwardConfig
	for i := range doc.Routes {
		forwards = append(forwards, forward(&doc.Routes[i]))
	}
	return wire.NewNames(append(auth.Guarded(forwards...), dedup.AttemptField, "X-Gateway-Mirror")...)
}

// decide runs the real auth layer, and gives the words that a client never sees.
func decide(doc *config.Document, r *config.RouteConfig, x *pipeline.Exchange, logger *slog.Logger) (string, error) {
	issuers := make(map[string]auth.IssuerConfig, len(r.Auth.Issuers))
	for _, name := range r.Auth.Issuers {
		issuers[name] = doc.Issuers[name]
	}
	deps := auth.Deps{
		Logger: logger, APIKeys: doc.APIKeys, Clients: doc.ClientCertificates, Users: doc.BasicUsers,
		Replays: dpop.Forget{}, Nonces: nonces(doc), Compile: expressions(),
	}
	authority, err := auth.NewAuthority(issuers, nil, deps)
	if err != nil {
		return err.Error(), err
	}
	defer authority.Close()
	words, _ := auth.Judge(*r.Auth, authority, x)
	layer, err := auth.New(*r.Auth, forward(r), authority)
	if err != nil {
		return err.Error(), err
	}
	return words, forwarded(x, layer)
}

// forwarded runs a real layer on the request: nil when it passes the request on.
func forwarded(x *pipeline.Exchange, layer pipeline.Layer) error {
	end := pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { return nil })
	return pipeline.Compose(end, layer).Serve(context.Background(), x)
}
