package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oncegate/oncegate/internal/rewrite"
	"github.com/oncegate/oncegate/internal/units"
)

// rewrittenAway warns of routes that are open and whose rewrite can lead to what another route of the same upstream protects: a
// request is authorised by the path that came.
func rewrittenAway(doc *Document, root *node, file string) (list []Located) {
	for i := range doc.Routes {
		open := &doc.Routes[i]
		if open.Auth == nil || !open.Auth.None || open.Rewrite == nil || root.get("routes").items[i].get("rewrite") == nil {
			continue
		}
		made, changed := outcome(open.Match.Path, open.Rewrite)
		if !changed {
			continue
		}
		for j := range doc.Routes {
			closed := &doc.Routes[j]
			if closed.Auth == nil || closed.Auth.None || !meet(made, shape(closed.Match.Path)) || !share(open.To.Names(), closed.To.Names()) || disjoint(open.Match.Methods, closed.Match.Methods) {
				continue
			}
			path := fmt.Sprintf("routes[%d].rewrite", i)
			at := locate(root, path, units.AtKey)
			list = append(list, Located{File: file, Line: at.line, Column: at.column, Path: path, Message: fmt.Sprintf(
				"the route is open, and a path that it rewrites can be one of %s, for which route %s asks who it is: nobody is asked here", closed.Match.Path, closed.ID)})
			break
		}
	}
	return list
}

// anyOne and anyRest stand for a segment, and for all that follow, in a shape.
const (
	anyOne  = "*"
	anyRest = "**"
)

// shape is a path pattern as segments.
func shape(pattern string) []string {
	segments := strings.Split(strings.Trim(pattern, "/"), "/")
	for i, s := range segments {
		if strings.Contains(s, "{") {
			segments[i] = anyOne
		}
	}
	if segments[0] == "" {
		return nil
	}
	return segments
}

// outcome is the shape of what a rewrite can make of a route's paths; false: the paths themselves.
func outcome(pattern string, r *rewrite.Config) ([]string, bool) {
	if r.Path != "" {
		return shape(r.Path), true
	}
	made := shape(pattern)
	for _, s := range shape(r.StripPrefix) {
		switch {
		case len(made) > 0 && made[0] == anyRest: // stays open-ended, whatever is cut
		case len(made) > 0 && (made[0] == s || made[0] == anyOne):
			made = made[1:]
		}
	}
	return slices.Concat(shape(r.AddPrefix), made), r.StripPrefix != "" || r.AddPrefix != ""
}

// meet reports that two shapes have a path in common.
func meet(a, b []string) bool {
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] == anyRest || b[0] == anyRest:
			return true
		case a[0] != b[0] && a[0] != anyOne && b[0] != anyOne:
			return false
		}
		a, b = a[1:], b[1:]
	}
	rest := append(a, b...)
	return len(rest) == 0 || rest[0] == anyRest
}

func share(a, b []string) bool {
	return slices.ContainsFunc(a, func(name string) bool { return slices.Contains(b, name) })
}

func disjoint(a, b []string) bool { return len(a) > 0 && len(b) > 0 && !share(a, b) }
