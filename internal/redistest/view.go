package redistest

import (
	"slices"
	"strconv"
	"strings"
)

// view is a cluster in the eyes of one node; node is one line of it.
type (
	view []node
	node struct {
		id, addr string
		flags    []string
		follows  string   // id of its primary, "-" for a primary
		slots    []string // "0-5460" or "7"
	}
)

// see asks a node for its view, see CLUSTER NODES: id ip:port@bus flags primary ping pong epoch link slot...
func see(by *Server) view {
	reply, _ := by.Do("CLUSTER", "NODES")
	text, _ := reply.(string)
	var v view
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 8 {
			continue
		}
		addr, _, _ := strings.Cut(fields[1], "@")
		v = append(v, node{id: fields[0], addr: addr, flags: strings.Split(fields[2], ","), follows: fields[3], slots: fields[8:]})
	}
	return v
}

func (v view) node(addr string) *node {
	i := slices.IndexFunc(v, func(n node) bool { return n.addr == addr })
	if i < 0 {
		return nil
	}
	return &v[i]
}

// owner is the address of the primary that has the slot; "" if none has.
func (v view) owner(slot int) string {
	for _, n := range v {
		if slices.ContainsFunc(n.slots, func(r string) bool { return within(slot, r) }) {
			return n.addr
		}
	}
	return ""
}

// followed is the address of the primary that addr replicates; "" if none.
func (v view) followed(addr string) string {
	follower := v.node(addr)
	if follower == nil {
		return ""
	}
	for _, n := range v {
		if n.id == follower.follows {
			return n.addr
		}
	}
	return ""
}

// missing is the address of a node that is thought dead; "" if none is.
func (v view) missing() string {
	for _, n := range v {
		if n.has("fail") || n.has("fail?") {
			return n.addr
		}
	}
	return ""
}

func (n *node) has(flag string) bool { return slices.Contains(n.flags, flag) }

// within reads a range of slots; one that is being moved, "[7-<-id]", belongs to nobody here.
func within(slot int, ranges string) bool {
	low, high, both := strings.Cut(ranges, "-")
	if !both {
		high = low
	}
	from, err1 := strconv.Atoi(low)
	to, err2 := strconv.Atoi(high)
	return err1 == nil && err2 == nil && from <= slot && slot <= to
}
