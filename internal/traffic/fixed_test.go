package traffic

import (
	"context"
	"fmt"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

func TestRedirects(t *testing.T) {
	for _, c := range []struct{ location, target, want string }{
		{"https://new.example.com{path}{?query}", "/a/b?x=1", "https://new.example.com/a/b?x=1"},
		{"https://new.example.com{path}{?query}", "/a", "https://new.example.com/a"},
		{"/v2/users/{id}?{query}", "/users/7?a=b", "/v2/users/7?a=b"},
		{"/fixed", "/x", "/fixed"},
	} {
		h, err := (&Redirect{Status: 308, Location: c.location}).Handler()
		if err != nil {
			t.Fatal(err)
		}
		m := pipeline.NewMemory("GET", c.target)
		m.Params.Names = []string{"id"}
		m.Params.Values[0] = []byte("7")
		_ = h.Serve(context.Background(), &m.Exchange)
		if got := string(m.Sent.Header("Location")); got != c.want || m.Sent.Status() != 308 {
			t.Errorf("%s: %s", c.location, got)
		}
	}
}

func TestRespond(t *testing.T) {
	m := pipeline.NewMemory("GET", "/")
	_ = (&Respond{Status: 418, Body: "tea", Headers: map[string]string{"Content-Type": "text/plain"}}).Handler().Serve(context.Background(), &m.Exchange)
	if m.Sent.Status() != 418 || string(m.Sent.Body()) != "tea" || string(m.Sent.Header("Content-Type")) != "text/plain" {
		t.Error("another answer")
	}
}

// An open redirect is an error: what a client sends never chooses the host.
func TestProblems(t *testing.T) {
	check := func(want int, what string, validate func(units.Problems)) {
		t.Helper()
		p := units.NewProblems()
		if validate(p); len(p.List()) != want {
			t.Errorf("%s: %v", what, p.List())
		}
	}
	for _, location := range []string{"https://{host}/a", "https://x.{id}.com/", "{path}", "//evil", "javascript:alert(1)", "https://u:p@h/", "https://h/{a", "https://h/}", "https://h/ a", "http://", "/{path}", "/{query}", "/{path}/x", "/a{query}", "https://h{query}"} {
		check(1, location, (&Redirect{Status: 308, Location: location}).Validate)
	}
	for _, location := range []string{"https://h{path}", "https://h/{path}", "/a", "http://h:80/a/{id}?{query}", "/{id}", "/a#{query}", "/old{path}", "https://h/{?query}"} {
		check(0, location, (&Redirect{Status: 301, Location: location}).Validate)
	}
	check(1, "status", (&Redirect{Status: 200, Location: "/a"}).Validate)
	check(1, "nothing", (&Destination{}).Validate)
	check(1, "two ways", (&Destination{Upstream: "a", Respond: &Respond{}}).Validate)
	check(0, "name", (&Destination{Upstream: "a", Mirror: &Mirror{Upstream: "b"}}).Validate)
	check(1, "mirror of nothing", (&Destination{Respond: &Respond{}, Mirror: &Mirror{Upstream: "b"}}).Validate)
	check(1, "sticky alone", (&Destination{Upstream: "a", Sticky: "client"}).Validate)
	check(1, "sticky by what", (&Destination{Split: []Arm{{Upstream: "a", Weight: 1}}, Sticky: "header:"}).Validate)
	check(1, "no weight", (&Destination{Split: []Arm{{Upstream: "a"}}}).Validate)
	check(2, "twice, and an empty when", (&Destination{Split: []Arm{{Upstream: "a", Weight: 1}, {Upstream: "a", When: &When{}}}}).Validate)
	check(1, "unknown failure", (&Rule{On: []string{"broken"}, Upstream: "a"}).Validate)
	check(1, "both", (&Rule{On: []string{"open", "429"}, Upstream: "a", Respond: &Respond{}}).Validate)
	check(3, "headers", (&Respond{Headers: map[string]string{"Content-Length": "1", "A B": "1", "X": "\n"}}).Validate)
	check(1, "body", (&Respond{Status: 204, Body: "x"}).Validate)
	if got := fmt.Sprint((&Destination{Split: []Arm{{Upstream: "a"}, {Upstream: "b"}}}).Names()); got != "[a b]" {
		t.Error(got)
	}
}
