package routes

import (
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/units"
)

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		match       Match
		where, word string // "" passes
	}{
		{Match{Path: "/"}, "", ""},
		{Match{}, "", ""}, // the tags report it
		{Match{Path: "/a/b.c~d/e%20f"}, "", ""},
		{Match{Path: "/a/"}, "", ""},
		{Match{Path: "/**"}, "", ""},
		{Match{Path: "/{a_1}/{B}/x/**"}, "", ""},
		{Match{Path: "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}"}, "", ""},
		{Match{Path: "open"}, "path", `"/open"`},
		{Match{Path: "**"}, "path", "begins with /"},
		{Match{Path: "/a/**/b"}, "path", "at the end"},
		{Match{Path: "/a/**/"}, "path", "at the end"},
		{Match{Path: "/a/b**"}, "path", "at the end"},
		{Match{Path: "/a/*"}, "path", "at the end"},
		{Match{Path: "/u/{id"}, "path", "{name}"},
		{Match{Path: "/u/id}"}, "path", "{name}"},
		{Match{Path: "/u/{}"}, "path", "{name}"},
		{Match{Path: "/u/{1a}"}, "path", "{name}"},
		{Match{Path: "/u/{a-b}"}, "path", "{name}"},
		{Match{Path: "/u/{{a}}"}, "path", "{name}"},
		{Match{Path: "/u/x{a}"}, "path", "{name}"},
		{Match{Path: "/u/{id}/{id}"}, "path", "twice"},
		{Match{Path: "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}"}, "path", "at most 8"},
		{Match{Path: "/a/../b"}, "path", "canonical"},
		{Match{Path: "/a/./b"}, "path", "canonical"},
		{Match{Path: "/a//b"}, "path", "canonical"},
		{Match{Path: "//"}, "path", "canonical"},
		{Match{Path: "//**"}, "path", "canonical"},
		{Match{Path: "/a//**"}, "path", "canonical"},
		{Match{Path: "/a?b=c"}, "path", "canonical"},
		{Match{Path: "/%61"}, "path", "canonical"},
		{Match{Path: "/a%2fb"}, "path", "canonical"},

		{Match{Path: "/", Hosts: list("api.test", "*.test", "localhost", "10.0.0.1", "[::1]", "my_svc")}, "", ""},
		{Match{Path: "/", Hosts: list("a", "API.test")}, "hosts[1]", `"api.test"`},
		{Match{Path: "/", Hosts: list("api.test:8080")}, "hosts[0]", "without port"},
		{Match{Path: "/", Hosts: list("*")}, "hosts[0]", "leave hosts out"},
		{Match{Path: "/", Hosts: list("a", "a")}, "hosts[1]", "twice"},
		{Match{Path: "/", Hosts: list("")}, "hosts[0]", "not a host"},
		{Match{Path: "/", Hosts: list("*.")}, "hosts[0]", "not a host"},
		{Match{Path: "/", Hosts: list("*x.test")}, "hosts[0]", "not a host"},
		{Match{Path: "/", Hosts: list("a.*.test")}, "hosts[0]", "not a host"},
		{Match{Path: "/", Hosts: list("a..b")}, "hosts[0]", "not a host"},
		{Match{Path: "/", Hosts: list("a.test.")}, "hosts[0]", "not a host"},
		{Match{Path: "/", Hosts: list("-a.test")}, "hosts[0]", "not a host"},
		{Match{Path: "/", Hosts: list("a b")}, "hosts[0]", "not a host"},
		{Match{Path: "/", Hosts: list("http://a.test")}, "hosts[0]", "not a host"},
		{Match{Path: "/", Hosts: list("[::1]:80")}, "hosts[0]", ""},
		{Match{Path: "/", Hosts: list("[0::1]")}, "hosts[0]", "not a host"},
		{Match{Path: "/", Hosts: list(strings.Repeat("a", 64) + ".test")}, "hosts[0]", "not a host"},
		{Match{Path: "/", Hosts: list(strings.Repeat("a.", 130) + "test")}, "hosts[0]", "not a host"},

		{Match{Path: "/", Methods: list("GET", "PROPFIND", "purge")}, "", ""},
		{Match{Path: "/", Methods: list("get")}, "methods[0]", "GET"},
		{Match{Path: "/", Methods: list("GET", "Post")}, "methods[1]", "POST"},
		{Match{Path: "/", Methods: list("GET", "GET")}, "methods[1]", "twice"},
		{Match{Path: "/", Methods: list("CONNECT")}, "methods[0]", "never passed on"},
		{Match{Path: "/", Methods: list("trace")}, "methods[0]", "never passed on"},
		{Match{Path: "/", Methods: list("GET POST")}, "methods[0]", "not a method"},
		{Match{Path: "/", Methods: list("")}, "methods[0]", "not a method"},

		{Match{Path: "/", Headers: pairs{"Accept": "a/b; c=d", "X-Empty": ""}}, "", ""},
		{Match{Path: "/", Headers: pairs{"X A": "1"}}, "headers.X A", "name of a header"},
		{Match{Path: "/", Headers: pairs{"": "1"}}, "headers.", "name of a header"},
		{Match{Path: "/", Headers: pairs{"X_A": "1"}}, "headers.X_A", "never match"},
		{Match{Path: "/", Headers: pairs{"X-A": "1", "x-a": "1"}}, "headers.x-a", "twice"},
		{Match{Path: "/", Headers: pairs{"X-A": " 1"}}, "headers.X-A", "value"},
		{Match{Path: "/", Headers: pairs{"X-A": "1\n2"}}, "headers.X-A", "value"},
		{Match{Path: "/", Query: pairs{"": "1"}}, "query", "name"},
		{Match{Path: "/", Query: pairs{"q": ""}}, "", ""},
	} {
		p := units.NewProblems()
		c.match.Validate(p)
		if c.where == "" {
			if found := p.List(); len(found) > 0 {
				t.Errorf("%+v: %+v", c.match, found)
			}
			continue
		}
		found := p.List()
		if len(found) != 1 || found[0].Path != c.where || !strings.Contains(found[0].Message+found[0].Meant, c.word) {
			t.Errorf("%+v: %+v, want one at %s with %q", c.match, found, c.where, c.word)
		}
	}
}

// A document with many mistakes gets them all at once.
func TestValidateReportsAll(t *testing.T) {
	p := units.NewProblems()
	m := Match{Path: "x", Hosts: list("*", "A"), Methods: list("get"), Headers: pairs{"a b": ""}, Query: pairs{"": ""}}
	m.Validate(p.Key("routes").Index(2).Key("match"))
	if found := p.List(); len(found) != 6 || found[0].Path != "routes[2].match.path" {
		t.Errorf("%+v", found)
	}
}

func TestConflicts(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b Match
		want bool
	}{
		{"equal", Match{Path: "/a/**", Methods: list("GET", "POST")}, Match{Path: "/a/**", Methods: list("GET", "POST")}, true},
		{"one method in common", Match{Path: "/a", Methods: list("GET", "POST")}, Match{Path: "/a", Methods: list("PUT", "POST")}, true},
		{"no method in common", Match{Path: "/a", Methods: list("GET")}, Match{Path: "/a", Methods: list("POST")}, false},
		{"HEAD beside GET", Match{Path: "/a", Methods: list("GET")}, Match{Path: "/a", Methods: list("HEAD")}, false},
		{"named beside none", Match{Path: "/a", Methods: list("GET")}, Match{Path: "/a"}, false},
		{"other names of parameters", Match{Path: "/a/{x}"}, Match{Path: "/a/{y}"}, true},
		{"parameter beside literal", Match{Path: "/a/{x}"}, Match{Path: "/a/x"}, false},
		{"slash", Match{Path: "/a"}, Match{Path: "/a/"}, false},
		{"subtree", Match{Path: "/a"}, Match{Path: "/a/**"}, false},
		{"root", Match{Path: "/"}, Match{Path: "/"}, true},
		{"one host in common", Match{Path: "/a", Hosts: list("a", "b")}, Match{Path: "/a", Hosts: list("c", "b")}, true},
		{"two hosts in common", Match{Path: "/a", Hosts: list("a", "b")}, Match{Path: "/a", Hosts: list("b", "a")}, true},
		{"other hosts", Match{Path: "/a", Hosts: list("a")}, Match{Path: "/a", Hosts: list("*.a")}, false},
		{"host beside none", Match{Path: "/a", Hosts: list("a")}, Match{Path: "/a"}, false},
		{"equal conditions", Match{Path: "/a", Headers: pairs{"X-A": "1"}, Query: pairs{"q": "1"}}, Match{Path: "/a", Headers: pairs{"x-a": "1"}, Query: pairs{"q": "1"}}, true},
		{"other value", Match{Path: "/a", Headers: pairs{"X-A": "1"}}, Match{Path: "/a", Headers: pairs{"X-A": "2"}}, false},
		{"header or query", Match{Path: "/a", Headers: pairs{"q": "1"}}, Match{Path: "/a", Query: pairs{"q": "1"}}, false},
		{"more conditions", Match{Path: "/a", Query: pairs{"q": "1"}}, Match{Path: "/a", Query: pairs{"q": "1", "r": "1"}}, false},
	} {
		_, found := New([]Rule[int]{{ID: "zero", Match: Match{Path: "/other"}}, {ID: "one", Match: c.a}, {ID: "two", Match: c.b}})
		if !c.want && len(found) == 0 {
			continue
		}
		if !c.want || len(found) != 1 || found[0].First != 1 || found[0].Second != 2 || !strings.Contains(found[0].Message, `"one"`) {
			t.Errorf("%s: %+v", c.name, found)
		}
	}
}

// Three equal rules are two conflicts, each with the first; the first goes on working.
func TestConflictsInOrder(t *testing.T) {
	m := Match{Path: "/a"}
	made, found := New([]Rule[string]{{"a", m, "a"}, {"b", m, "b"}, {"c", m, "c"}})
	if len(found) != 2 || found[0].Second != 1 || found[1].Second != 2 || found[1].First != 0 {
		t.Errorf("%+v", found)
	}
	if got := outcome(made, ask("GET x/a")); got != "a" {
		t.Errorf("%s", got)
	}
}
