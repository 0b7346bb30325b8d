package gateway

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// The order is a security property: this test has to be changed with open eyes.
func TestStackOrder(t *testing.T) {
	var seen []string
	mark := func(name string) pipeline.Layer {
		return func(next pipeline.Handler) pipeline.Handler {
			return pipeline.HandlerFunc(func(ctx context.Context, x *pipeline.Exchange) error {
				seen = append(seen, name)
				return next.Serve(ctx, x)
			})
		}
	}
	p, fields := parts{end: pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { seen = append(seen, "end"); return nil })}, reflect.TypeFor[parts]()
	p.observe, p.status, p.headers, p.cors, p.websocket, p.access, p.version, p.deadline = mark("observe"), mark("status"), mark("headers"), mark("cors"), mark("websocket"), mark("access"), mark("version"), mark("deadline")
	p.shed, p.admit, p.logins, p.auth, p.limit, p.dedup = mark("shed"), mark("admit"), mark("logins"), mark("auth"), mark("limit"), mark("dedup")
	p.rewrite, p.fallback, p.mirror, p.token, p.retry, p.breaker, p.bulkhead = mark("rewrite"), mark("fallback"), mark("mirror"), mark("token"), mark("retry"), mark("breaker"), mark("bulkhead")
	h := stack(p)
	if err := h.Serve(t.Context(), &pipeline.NewMemory("GET", "/").Exchange); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(seen, " "); got != "observe status headers cors websocket access version deadline shed admit logins auth limit dedup rewrite fallback mirror token retry breaker bulkhead end" {
		t.Errorf("the order is %s", got)
	}
	if len(seen) != fields.NumField() {
		t.Errorf("%d of %d layers are in the list", len(seen), fields.NumField())
	}
}

// places says where each key of a route takes effect. A key without a place is one that somebody forgot to build.
var places = map[string]string{
	"id": "name", "match": "routes", "auth": "auth", "rate_limits": "limit", "rate_limit_fields": "limit", "priority": "shed", "failed_logins": "logins", "dedup": "dedup", "timeout": "deadline", "body": "admit",
	"cors": "cors", "websocket": "websocket", "addresses": "access", "security_headers": "headers", "forward": "auth", "to": "end", "rewrite": "rewrite", "fallback": "fallback", "version": "version", "mode": "limit",
}

func TestEveryKeyOfARouteHasAPlace(t *testing.T) {
	fields := reflect.TypeFor[config.RouteConfig]()
	stackFields := reflect.TypeFor[parts]()
	for i := range fields.NumField() {
		f := fields.Field(i)
		key := f.Tag.Get("yaml")
		place, known := places[key]
		_, inStack := stackFields.FieldByName(place)
		switch {
		case !known:
			t.Errorf("%s has no place", key)
		case place != "name" && place != "routes" && !inStack:
			t.Errorf("%s: the stack has no %s", key, place)
		}
	}
}
