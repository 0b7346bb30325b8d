package routes

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// The reference matcher: every rule is tried by itself, the best tuple of precedence wins. It shares no code with the table.

// naiveHost is the level of a host, lower is better; -1 does not fit.
func naiveHost(names []string, host string) int {
	best := -1
	if len(names) == 0 {
		best = 1000
	}
	for _, name := range names {
		suffix, wild := strings.CutPrefix(name, "*")
		at := -1
		if !wild && name == host {
			at = 0
		} else if wild && strings.HasSuffix(host, suffix) && len(host) > len(suffix) {
			at = 999 - len(suffix)
		}
		if at >= 0 && (best < 0 || at < best) {
			best = at
		}
	}
	return best
}

// naivePath gives literals, parameters, whether it is a subtree, the order of literals and the values.
func naivePath(pattern, path string) (order []int, values []string, ok bool) {
	want, have := strings.Split(pattern[1:], "/"), strings.Split(path[1:], "/")
	subtree := 0
	if want[len(want)-1] == "**" {
		subtree, want = 1, want[:len(want)-1]
		if len(have) < len(want) {
			return nil, nil, false
		}
		have = have[:len(want)]
	}
	if len(want) != len(have) {
		return nil, nil, false
	}
	literals := 0
	var places []int
	for i, w := range want {
		switch {
		case strings.HasPrefix(w, "{"):
			if have[i] == "" {
				return nil, nil, false
			}
			values = append(values, have[i])
			places = append(places, 1)
		case w != have[i]:
			return nil, nil, false
		default:
			places = append(places, 0)
			if w != "" {
				literals++
			}
		}
	}
	return append([]int{-literals, -len(values), subtree}, places...), values, true
}

func naiveMethod(methods []string, method string) int {
	switch {
	case slices.Contains(methods, method):
		return 0
	case method == "HEAD" && slices.Contains(methods, "GET"):
		return 1
	case len(methods) == 0:
		return 2
	}
	return -1
}

// naive gives the index of the rule, or -1 with the status, and the values of parameters.
func naive(rules []Rule[int], a *asked) (index int, result Result, values []string) {
	index, result = -1, NotFound
	var best []int
	for i := range rules {
		m := &rules[i].Match
		level := naiveHost(m.Hosts, a.host)
		order, got, ok := naivePath(m.Path, a.path)
		for name, value := range m.Headers {
			v, has := a.headers[strings.ToLower(name)]
			ok = ok && has && v == value
		}
		for name, value := range m.Query {
			ok = ok && strings.Contains("&"+a.query+"&", "&"+name+"="+value+"&")
		}
		if level < 0 || !ok {
			continue
		}
		rank := naiveMethod(m.Methods, a.method)
		if rank < 0 {
			if index < 0 {
				result = WrongMethod
			}
			continue
		}
		tuple := append(append([]int{level}, order...), rank, -len(m.Headers), -len(m.Query), i)
		if index < 0 || slices.Compare(tuple, best) < 0 {
			index, result, best, values = i, Matched, tuple, got
		}
	}
	if result == WrongMethod && a.method == "OPTIONS" {
		result = Options
	}
	return index, result, values
}

// dice draws from the fuzzer's bytes first, so that it steers, and from a fixed source after.
type dice struct {
	data []byte
	rest *rand.Rand
}

func (d *dice) n(n int) int {
	if len(d.data) == 0 {
		return d.rest.IntN(n)
	}
	v := int(d.data[0]) % n
	d.data = d.data[1:]
	return v
}

func (d *dice) of(words ...string) string { return words[d.n(len(words))] }

func (d *dice) some(words ...string) []string {
	var list []string
	for _, w := range words {
		if d.n(3) == 0 {
			list = append(list, w)
		}
	}
	return list
}

func (d *dice) pattern() string {
	var b strings.Builder
	for i := range d.n(5) {
		b.WriteString("/" + d.of("a", "b", "c", fmt.Sprintf("{p%d}", i)))
	}
	return b.String() + d.of("", "", "/", "/**")
}

func (d *dice) match() Match {
	m := Match{Path: d.pattern()}
	if m.Path == "" {
		m.Path = "/"
	}
	if d.n(2) == 0 {
		m.Hosts = d.some("a.test", "b.a.test", "*.test", "*.a.test")
	}
	if d.n(2) == 0 {
		m.Methods = d.some("GET", "HEAD", "POST", "OPTIONS")
	}
	if d.n(4) == 0 {
		m.Headers = pairs{d.of("X-A", "X-B"): d.of("1", "2")}
	}
	if d.n(4) == 0 {
		m.Query = pairs{d.of("q", "r"): "1"}
	}
	return m
}

func (d *dice) request() *asked {
	a := &asked{headers: map[string]string{}}
	for range d.n(6) {
		a.path += "/" + d.of("a", "b", "c", "d")
	}
	if a.path == "" || d.n(6) == 0 {
		a.path += "/"
	}
	a.host = d.of("", "test", "a.test", "b.a.test", "c.b.a.test", "x.test", "other")
	a.method = d.of("GET", "HEAD", "POST", "OPTIONS", "PUT")
	if d.n(2) == 0 {
		a.headers[d.of("x-a", "x-b")] = d.of("1", "2")
	}
	a.query = d.of("", "q=1", "r=1", "q=1&r=1", "q=2")
	return a
}

func agree(t *testing.T, d *dice) {
	rules := make([]Rule[int], 1+d.n(40))
	for i := range rules {
		rules[i] = Rule[int]{Match: d.match(), Value: i}
		problems := noProblems(&rules[i].Match)
		if problems != "" {
			t.Fatal(problems)
		}
	}
	routes, _ := New(rules)
	for range 60 {
		a := d.request()
		index, result, values := naive(rules, a)
		var params pipeline.Params
		got, how, allow := routes.Find(a, &params)
		if how != result || how == Matched && got != index {
			t.Fatalf("%+v: %d %d, want %d %d of\n%s", a, got, how, index, result, document(rules))
		}
		if (allow != "") != (how == WrongMethod || how == Options) {
			t.Fatalf("%+v: Allow %q with result %d", a, allow, how)
		}
		for i, v := range values {
			if string(params.Values[i]) != v {
				t.Fatalf("%+v: %s is %q, want %q", a, params.Names[i], params.Values[i], v)
			}
		}
		takes := slices.IndexFunc(routes.Explain(a), func(c Candidate) bool { return c.Verdict == Takes })
		if (takes >= 0) != (how == Matched) {
			t.Fatalf("%+v: Explain and Find disagree", a)
		}
	}
}

func document(rules []Rule[int]) string {
	var b strings.Builder
	for i := range rules {
		fmt.Fprintf(&b, "%d %+v\n", i, rules[i].Match)
	}
	return b.String()
}

func TestAgreesWithReference(t *testing.T) {
	for seed := range uint64(400) {
		agree(t, &dice{rest: rand.New(rand.NewPCG(seed, 1))})
	}
}

func FuzzMatch(f *testing.F) {
	f.Add([]byte("GET /a/b"))
	f.Add([]byte{30, 3, 0, 3, 1, 2, 2, 1, 0, 0, 1, 1, 0, 3, 3, 3, 3, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		agree(t, &dice{data: data, rest: rand.New(rand.NewPCG(uint64(len(data)), 2))})
	})
}

// FuzzPattern: whatever stands in a document, parse does not panic, and what it takes finds a route for its own sample.
func FuzzPattern(f *testing.F) {
	for _, s := range []string{"/", "/**", "/a/{b}/c/**", "/a/", "//", "{}", "/{a}/{a}", "/*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		p, err := parse(path)
		if err != nil {
			return
		}
		routes, conflicts := New([]Rule[string]{{ID: "it", Match: Match{Path: path}, Value: "it"}})
		if got := outcome(routes, &asked{method: "GET", path: string(p.sample())}); got != "it" || len(conflicts) > 0 {
			t.Errorf("%q does not take %q: %s", path, p.sample(), got)
		}
	})
}
