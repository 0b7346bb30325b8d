package routes

import "github.com/oncegate/oncegate/internal/wire"

// Preflight gives the routes that may take the request that a browser asks about by r: the same host, path and query with
// another method, and with fields of which only the names are known, by names. The first is the most likely; there are others
// when only the value of such a field decides. nil: no route would take the request. It allocates: browsers keep the answer.
func (t *Table[T]) Preflight(r Request, method []byte, names func(field string) bool) []T {
	var list []T
	for _, c := range t.hosts.candidates(r, method) {
		if c.rule.rank(method) == other {
			continue
		}
		possible, certain := c.rule.mayHold(r, names)
		if possible {
			list = append(list, t.rules[c.rule.index].Value)
		}
		if certain {
			break
		}
	}
	return list
}

// mayHold judges conditions on fields by what is sent, or by name. certain: whatever the fields' values are, it holds.
func (r *rule) mayHold(req Request, names func(field string) bool) (possible, certain bool) {
	certain = true
	for i := range r.headers {
		c := &r.headers[i]
		if names(c.name) {
			certain = false
		} else if v := req.Header(c.name); v == nil || string(v) != c.value {
			return false, false
		}
	}
	for i := range r.query {
		if c := &r.query[i]; !wire.QueryHas(req.Query(), c.name, c.value) {
			return false, false
		}
	}
	return true, certain
}
