package gateway

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/cors"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/routes"
)

// doorSteps are the layers that decide by address and origin, and what is set on every answer.
func doorSteps(doc *config.Document, r *config.RouteConfig) []Step {
	var steps []Step
	if a := doc.Listen.Addresses; a != nil && !a.Off {
		steps = append(steps, Step{"listen", a.Words()})
	}
	if h := r.SecurityHeaders; h != nil && !h.Off {
		steps = append(steps, Step{"headers", h.Words()})
	}
	if c := r.CORS; c != nil && !c.Off {
		steps = append(steps, Step{"cors", c.Words()})
	}
	if w := r.Websocket; w != nil && !w.Off {
		steps = append(steps, Step{"websocket", w.Words()})
	}
	if a := r.Addresses; a != nil && !a.Off {
		steps = append(steps, Step{"access", a.Words()})
	}
	return steps
}

// explainPreflight says how a preflight is answered; false when it is a request like any other.
func explainPreflight(w io.Writer, doc *config.Document, table *routes.Table[*config.RouteConfig], x *pipeline.Exchange) (bool, error) {
	if !cors.IsPreflight(x.Request) {
		return false, nil
	}
	asked := askedRoutes(table, x.Request)
	if len(asked) == 0 {
		return false, nil
	}
	policies := make([]*cors.Policy, len(asked))
	for i, r := range asked {
		var err error
		if policies[i], err = cors.New(r.CORS, r.Match.Methods); err != nil {
			return true, err
		}
	}
	if policies[0] == nil {
		return false, nil
	}
	x.Route = asked[0].ID
	describeRoute(w, doc, asked[0])
	for i := range asked[1:] {
		fmt.Fprintf(w, "  or route %s, by the value of a field\n", asked[i+1].ID)
		if p := policies[i+1]; p == nil || !p.Allows(x.Request) {
			x.Deferred = cors.ErrOrigin
		}
	}
	err := policies[0].Preflight().Serve(context.Background(), x)
	if err != nil {
		kind := pipeline.KindOf(err)
		fmt.Fprintf(w, "=> a preflight, refused: %d %s: the origin is not allowed\n", kind.Status(), kind.Slug())
		return true, err
	}
	fmt.Fprintln(w, "=> a preflight, answered by the gateway: 204")
	x.Response.EachField(func(name, value []byte) {
		if strings.HasPrefix(string(name), "Access-Control-") {
			fmt.Fprintf(w, "   %s: %s\n", name, value)
		}
	})
	return true, nil
}

// describeOrigin says whether the page that sends the request may read its answer.
func describeOrigin(w io.Writer, r *config.RouteConfig, x *pipeline.Exchange) {
	p, err := cors.New(r.CORS, r.Match.Methods)
	if err != nil || p == nil || x.Request.Header("Origin") == nil {
		return
	}
	if p.Allows(x.Request) {
		fmt.Fprintln(w, "=> cors: pages of this origin may read the answer")
		return
	}
	fmt.Fprintln(w, "=> cors: not an allowed origin: the request passes, but the browser withholds its answer")
}
