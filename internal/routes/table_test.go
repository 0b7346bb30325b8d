package routes

import (
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// asked is a request as the edge hands it over.
type asked struct {
	method, host, path, query string
	headers                   map[string]string // names in lower case
}

func (a *asked) Method() []byte { return []byte(a.method) }
func (a *asked) Host() []byte   { return []byte(a.host) }
func (a *asked) Path() []byte   { return []byte(a.path) }
func (a *asked) Query() []byte  { return []byte(a.query) }
func (a *asked) Header(name string) []byte {
	if v, ok := a.headers[strings.ToLower(name)]; ok {
		return append([]byte{}, v...)
	}
	return nil
}

// ask makes a request of "METHOD host/path?query" and header pairs.
func ask(line string, headers ...string) *asked {
	a := &asked{headers: map[string]string{}}
	method, rest, _ := strings.Cut(line, " ")
	rest, query, _ := strings.Cut(rest, "?")
	at := strings.IndexByte(rest, '/')
	a.method, a.host, a.path, a.query = method, rest[:at], rest[at:], query
	for i := 0; i < len(headers); i += 2 {
		a.headers[strings.ToLower(headers[i])] = headers[i+1]
	}
	return a
}

// outcome is the id of the route, or the status of the refusal.
func outcome(t *Table[string], r Request) string {
	var params pipeline.Params
	id, result, _ := t.Find(r, &params)
	return map[Result]string{Matched: id, NotFound: "404", WrongMethod: "405", Options: "204"}[result]
}

func table(t testing.TB, rules ...Rule[string]) *Table[string] {
	t.Helper()
	for i := range rules {
		rules[i].Value = rules[i].ID
	}
	made, conflicts := New(rules)
	if len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	return made
}

type pairs = map[string]string

func list(words ...string) []string { return words }

func shop(t testing.TB) *Table[string] {
	return table(t,
		Rule[string]{ID: "root", Match: Match{Path: "/"}},
		Rule[string]{ID: "exact", Match: Match{Path: "/a/b"}},
		Rule[string]{ID: "param", Match: Match{Path: "/a/{x}"}},
		Rule[string]{ID: "sub", Match: Match{Path: "/a/**"}},
		Rule[string]{ID: "deep-sub", Match: Match{Path: "/a/b/c/**"}},
		Rule[string]{ID: "param-sub", Match: Match{Path: "/p/{x}/**"}},
		Rule[string]{ID: "param-lit", Match: Match{Path: "/p/{x}/edit"}},
		Rule[string]{ID: "lit-param", Match: Match{Path: "/p/new/{y}"}},
		Rule[string]{ID: "two-param", Match: Match{Path: "/q/{x}/{y}"}},
		Rule[string]{ID: "one-param", Match: Match{Path: "/q/{x}/z"}},
		Rule[string]{ID: "files", Match: Match{Path: "/files/**"}},
		Rule[string]{ID: "api-host", Match: Match{Hosts: list("api.test"), Path: "/h/**"}},
		Rule[string]{ID: "wild-host", Match: Match{Hosts: list("*.test"), Path: "/h/x"}},
		Rule[string]{ID: "longer-wild", Match: Match{Hosts: list("*.eu.test"), Path: "/h/**"}},
		Rule[string]{ID: "any-host", Match: Match{Path: "/h/x"}},
		Rule[string]{ID: "host-port", Match: Match{Hosts: list("port.test"), Path: "/hp"}},
		Rule[string]{ID: "get-only", Match: Match{Path: "/m", Methods: list("GET")}},
		Rule[string]{ID: "post-only", Match: Match{Path: "/m", Methods: list("POST", "PUT")}},
		Rule[string]{ID: "method-any", Match: Match{Path: "/mm"}},
		Rule[string]{ID: "method-del", Match: Match{Path: "/mm", Methods: list("DELETE")}},
		Rule[string]{ID: "hdr-none", Match: Match{Path: "/c"}},
		Rule[string]{ID: "hdr-one", Match: Match{Path: "/c", Headers: pairs{"X-A": "1"}}},
		Rule[string]{ID: "hdr-two", Match: Match{Path: "/c", Headers: pairs{"X-A": "1", "X-B": "2"}}},
		Rule[string]{ID: "qry-one", Match: Match{Path: "/c", Query: pairs{"beta": "1"}}},
		Rule[string]{ID: "qry-two", Match: Match{Path: "/c", Query: pairs{"beta": "1", "v": "2"}}},
		Rule[string]{ID: "hdr-qry", Match: Match{Path: "/c", Headers: pairs{"X-A": "1"}, Query: pairs{"beta": "1"}}},
		Rule[string]{ID: "first", Match: Match{Path: "/tie", Headers: pairs{"X-A": "1"}}},
		Rule[string]{ID: "second", Match: Match{Path: "/tie", Headers: pairs{"X-B": "1"}}},
		Rule[string]{ID: "case", Match: Match{Path: "/Case"}},
		Rule[string]{ID: "dot", Match: Match{Path: "/v1.0/x"}},
		Rule[string]{ID: "space", Match: Match{Path: "/sp/**"}},
		Rule[string]{ID: "admin", Match: Match{Path: "/admin/**"}},
	)
}

func TestPrecedence(t *testing.T) {
	routes := shop(t)
	for _, c := range []struct {
		line, want string
		headers    []string
	}{
		{"GET x.test/", "root", nil},
		{"GET x/a/b", "exact", nil},
		{"GET x/a/zzz", "param", nil},
		{"GET x/a/b/d", "sub", nil},
		{"GET x/a", "sub", nil},
		{"GET x/a/b/c/d/e", "deep-sub", nil},
		{"GET x/a/b/c", "deep-sub", nil},
		{"GET x/filesx", "404", nil},
		{"GET x/files/", "files", nil},
		{"GET x/p/1/edit", "param-lit", nil},
		{"GET x/p/1/2/3", "param-sub", nil},
		{"GET x/p/new/7", "lit-param", nil},
		{"GET x/p/new/edit", "lit-param", nil}, // both have two literals: the leftmost counts
		{"GET x/p/", "404", nil},
		{"GET x/q/1/z", "one-param", nil},
		{"GET x/q/1/2", "two-param", nil},
		{"GET x/q/1/2/3", "404", nil},
		{"GET x/q/1/", "404", nil},
		{"GET x/a/", "sub", nil},
		{"GET api.test/h/x", "api-host", nil},
		{"GET b.test/h/x", "wild-host", nil},
		{"GET b.eu.test/h/x", "longer-wild", nil},
		{"GET c.b.eu.test/h/x", "longer-wild", nil},
		{"GET c.b.test/h/x", "wild-host", nil},
		{"GET other.example/h/x", "any-host", nil},
		{"GET test/h/x", "any-host", nil},
		{"GET .test/h/x", "any-host", nil},
		{"GET eu.test/h/x", "wild-host", nil},
		{"GET port.test/hp", "host-port", nil},
		{"GET nope.test/hp", "404", nil},
		{"GET /hp", "404", nil},
		{"GET x/m", "get-only", nil},
		{"PUT x/m", "post-only", nil},
		{"DELETE x/mm", "method-del", nil},
		{"PATCH x/mm", "method-any", nil},
		{"get x/m", "405", nil},
		{"DELETE x/m", "405", nil},
		{"HEAD x/m", "get-only", nil},
		{"OPTIONS x/m", "204", nil},
		{"OPTIONS x/mm", "method-any", nil},
		{"GET x/c", "hdr-none", nil},
		{"GET x/c", "hdr-one", list("X-A", "1")},
		{"GET x/c", "hdr-one", list("x-a", "1")},
		{"GET x/c", "hdr-none", list("X-A", "1x")},
		{"GET x/c", "hdr-two", list("X-A", "1", "X-B", "2")},
		{"GET x/c?beta=1", "qry-one", nil},
		{"GET x/c?v=2&beta=1", "qry-two", nil},
		{"GET x/c?beta=1&v=2", "hdr-qry", list("X-A", "1")},
		{"GET x/c?beta=1&v=2", "hdr-two", list("X-A", "1", "X-B", "2")},
		{"GET x/c?bet%61=%31", "qry-one", nil},
		{"GET x/tie", "first", list("X-A", "1", "X-B", "1")},
		{"GET x/tie", "second", list("X-B", "1")},
		{"GET x/tie", "404", nil},
		{"OPTIONS x/tie", "404", nil},
		{"GET x/case", "404", nil},
		{"GET x/Case", "case", nil},
		{"GET x/Case/x", "404", nil},
		{"GET x/Case/", "404", nil},
		{"GET x/v1.0/x", "dot", nil},
		{"GET x/admin/x", "admin", nil},
		{"GET x/sp/a%20b", "space", nil},
		{"GET x/zzz", "404", nil},
		{"OPTIONS x/zzz", "404", nil},
	} {
		if got := outcome(routes, ask(c.line, c.headers...)); got != c.want {
			t.Errorf("%s %v: %s, want %s", c.line, c.headers, got, c.want)
		}
	}
}

// What stands for a path and is none (OPTIONS *) takes no route, not even /**.
func TestWhatIsNoPath(t *testing.T) {
	routes := table(t, Rule[string]{ID: "all", Match: Match{Path: "/**"}})
	for _, path := range []string{"", "*", "a"} {
		if got := outcome(routes, &asked{method: "OPTIONS", path: path}); got != "404" {
			t.Errorf("%q: %s", path, got)
		}
	}
	if got := outcome(routes, ask("GET x/")); got != "all" {
		t.Errorf("/: %s", got)
	}
	routes = table(t, Rule[string]{ID: "param", Match: Match{Path: "/{x}/y"}})
	if got := outcome(routes, ask("GET x//y")); got != "404" {
		t.Errorf("a parameter took an empty segment: %s", got)
	}
}

// A rule that does not hold is passed over: for the next rule of the path, the next path, the next level of host.
func TestFallBack(t *testing.T) {
	routes := table(t,
		Rule[string]{ID: "exact-post", Match: Match{Hosts: list("a.test"), Path: "/x/y", Methods: list("POST")}},
		Rule[string]{ID: "param-beta", Match: Match{Hosts: list("a.test"), Path: "/x/{y}", Query: pairs{"beta": "1"}}},
		Rule[string]{ID: "sub-put", Match: Match{Hosts: list("a.test"), Path: "/x/**", Methods: list("PUT")}},
		Rule[string]{ID: "wild-patch", Match: Match{Hosts: list("*.test"), Path: "/x/y", Methods: list("PATCH")}},
		Rule[string]{ID: "any-get", Match: Match{Path: "/{x}/y", Methods: list("GET")}},
		Rule[string]{ID: "named-head", Match: Match{Path: "/head", Methods: list("HEAD")}},
		Rule[string]{ID: "named-get", Match: Match{Path: "/head", Methods: list("GET")}},
		Rule[string]{ID: "two-get", Match: Match{Path: "/two", Methods: list("GET")}},
		Rule[string]{ID: "two-all", Match: Match{Path: "/two"}},
		Rule[string]{ID: "own-options", Match: Match{Path: "/own", Methods: list("OPTIONS")}},
		Rule[string]{ID: "empty", Match: Match{Path: "/empty", Headers: pairs{"X-E": ""}}},
	)
	for line, want := range map[string]string{
		"POST a.test/x/y":          "exact-post",
		"GET a.test/x/y?beta=1":    "param-beta",
		"PUT a.test/x/y":           "sub-put",
		"PATCH a.test/x/y":         "wild-patch",
		"GET a.test/x/y":           "any-get",
		"HEAD a.test/x/y":          "any-get",
		"DELETE a.test/x/y":        "405",
		"DELETE a.test/x/y?beta=1": "param-beta",
		"OPTIONS a.test/x/y":       "204",
		"HEAD b/head":              "named-head",
		"GET b/head":               "named-get",
		"HEAD b/two":               "two-get",
		"POST b/two":               "two-all",
		"OPTIONS b/own":            "own-options",
		"GET b/own":                "405",
		"GET b/empty":              "404",
	} {
		if got := outcome(routes, ask(line)); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
	if got := outcome(routes, ask("GET b/empty", "X-E", "")); got != "empty" {
		t.Errorf("an empty field is a field: %s", got)
	}
}

func TestAllow(t *testing.T) {
	routes := table(t,
		Rule[string]{ID: "get", Match: Match{Path: "/m", Methods: list("GET")}},
		Rule[string]{ID: "post", Match: Match{Path: "/m", Methods: list("PUT", "POST")}},
		Rule[string]{ID: "sub", Match: Match{Path: "/**", Methods: list("DELETE")}},
		Rule[string]{ID: "host", Match: Match{Hosts: list("*.test"), Path: "/m", Methods: list("LOCK")}},
		Rule[string]{ID: "beta", Match: Match{Path: "/m", Methods: list("BREW"), Query: pairs{"beta": "1"}}},
	)
	for line, want := range map[string]string{
		"PATCH x/m":        "DELETE, GET, HEAD, OPTIONS, POST, PUT",
		"OPTIONS x/m":      "DELETE, GET, HEAD, OPTIONS, POST, PUT",
		"PATCH a.test/m":   "DELETE, GET, HEAD, LOCK, OPTIONS, POST, PUT",
		"PATCH x/m?beta=1": "BREW, DELETE, GET, HEAD, OPTIONS, POST, PUT",
		"PATCH x/other":    "DELETE, OPTIONS",
		"GET x/m":          "",
	} {
		var params pipeline.Params
		if _, _, got := routes.Find(ask(line), &params); got != want {
			t.Errorf("%s: Allow %q, want %q", line, got, want)
		}
	}
}

func TestParams(t *testing.T) {
	routes := table(t,
		Rule[string]{ID: "get", Match: Match{Path: "/u/{id}", Methods: list("GET")}},
		Rule[string]{ID: "post", Match: Match{Path: "/u/{name}", Methods: list("POST")}},
		Rule[string]{ID: "lit", Match: Match{Path: "/u/{a}/x/{b}/end"}},
		Rule[string]{ID: "sub", Match: Match{Path: "/u/{only}/**"}},
		Rule[string]{ID: "eight", Match: Match{Path: "/8/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}"}},
	)
	for _, c := range []struct{ line, id, want string }{
		{"GET x/u/7", "get", "id=7"},
		{"POST x/u/7", "post", "name=7"},
		{"GET x/u/1/x/2/end", "lit", "a=1 b=2"},
		{"GET x/u/1/x/2/other", "sub", "only=1"}, // the longer branch was walked first and left nothing behind
		{"GET x/u/a%20b/", "sub", "only=a%20b"},
		{"GET x/8/1/2/3/4/5/6/7/8", "eight", "a=1 b=2 c=3 d=4 e=5 f=6 g=7 h=8"},
	} {
		var params pipeline.Params
		id, _, _ := routes.Find(ask(c.line), &params)
		var got []string
		for _, name := range params.Names {
			got = append(got, name+"="+string(params.Get(name)))
		}
		if id != c.id || strings.Join(got, " ") != c.want {
			t.Errorf("%s: %s %v, want %s %s", c.line, id, got, c.id, c.want)
		}
	}
}

func TestExplain(t *testing.T) {
	routes := table(t,
		Rule[string]{ID: "host", Match: Match{Hosts: list("*.test"), Path: "/m", Methods: list("POST")}},
		Rule[string]{ID: "flag", Match: Match{Path: "/m", Headers: pairs{"X-A": "1"}}},
		Rule[string]{ID: "get", Match: Match{Path: "/{any}", Methods: list("GET"), Query: pairs{"v": "1"}}},
		Rule[string]{ID: "all", Match: Match{Path: "/**"}},
		Rule[string]{ID: "last", Match: Match{Path: "/**", Methods: list("PUT")}},
	)
	want := []Candidate{
		{"host", "*.test", "/m", Method, ""},
		{"flag", "", "/m", Unmet, "header X-A"},
		{"get", "", "/{any}", Unmet, "query v"},
		{"all", "", "/**", Takes, ""},
		{"last", "", "/**", Method, ""},
	}
	got := routes.Explain(ask("GET a.test/m"))
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Fatalf("%+v\nwant %+v", got, want)
		}
	}
	got = routes.Explain(ask("GET a.test/m?v=1", "X-A", "1"))
	if got[1].Verdict != Takes || got[2].Verdict != Outvoted || got[3].Verdict != Outvoted {
		t.Errorf("%+v", got)
	}
	if len(routes.Routes()) != 5 {
		t.Error("Routes lists all")
	}
}
