package auth

import (
	"github.com/oncegate/oncegate/internal/auth/introspect"
	"github.com/oncegate/oncegate/internal/auth/keyset"
)

// Retire ends the refreshing of keys that next does not share. What runs on a keeps its last good keys.
func (a *Authority) Retire(next *Authority) {
	kept, asked := map[*keyset.Remote]bool{}, map[*introspect.Client]bool{}
	if next != nil {
		for _, i := range next.issuers {
			kept[i.remote], asked[i.asks] = true, true
		}
	}
	for _, i := range a.issuers {
		if i.remote != nil && !kept[i.remote] {
			i.remote.Close()
		}
		switch {
		case i.asks == nil || asked[i.asks]:
		case next == nil:
			i.asks.Close()
		default: // requests that began before may still ask
			i.asks.Retire()
		}
	}
}

// Close ends all refreshing.
func (a *Authority) Close() { a.Retire(nil) }
