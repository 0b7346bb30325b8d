package gateway

import "github.com/oncegate/oncegate/internal/pipeline"

// parts are the layers of one route; a nil one is left out.
type parts struct {
	observe, deadline, shed, admit, logins, auth, limit, dedup, retry, breaker, bulkhead pipeline.Layer

	end pipeline.Handler
}

// stack is the order of layers, the only place where it stands. Users switch layers on and set them; they do not reorder
// them, because the order is a security property.
func stack(p parts) pipeline.Handler {
	return pipeline.Compose(p.end,
		p.observe,  // sees everything, refusals and panics included
		p.deadline, // one point in time bounds all below
		p.shed,     // the process has too much to do: the least important first, before any work
		p.admit,    // body size: refusals that are cheaper than cryptography
		p.logins,   // counts what auth refuses, by address
		p.auth,     // all below may trust the client
		p.limit,    // keyed by a verified client; for a keyed write it only defers its refusal, so that a stored answer is still replayed
		p.dedup,    // claims only if no refusal is deferred and the breaker admits; decides by the effect what becomes of the key
		// fallback: another upstream while the effect is none
		// cache: after auth, so that its key can hold the client
		// rewrite: never across authorisation
		// split, mirror: below this line everything is per upstream
		p.retry,    // each try goes through all that follows, under one budget per upstream
		p.breaker,  // judges every try; its own refusals never count
		p.bulkhead, // a place is given back with the answer's last byte
	)
}
