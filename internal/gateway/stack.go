package gateway

import "github.com/oncegate/oncegate/internal/pipeline"

// parts are the layers of one route; a nil one is left out.
type parts struct {
	observe, status, headers, cors, websocket, access, deadline, shed, admit, logins, auth, limit, version, dedup, rewrite, fallback, mirror, token, retry, breaker, bulkhead pipeline.Layer

	end pipeline.Handler
}

// stack is the order of layers, the only place where it stands. Users switch layers on and set them; they do not reorder
// them, because the order is a security property.
func stack(p parts) pipeline.Handler {
	return pipeline.Compose(p.end,
		p.observe,   // sees everything, refusals and panics included
		p.status,    // names every refusal below
		p.headers,   // on every answer that is made below, whoever makes it; after dedup, so that none is stored
		p.cors,      // the same: a page must be able to read refusals, too. Preflights have a stack of their own, see compile.go
		p.websocket, // who may go on in WebSocket: the page's origin, before any work; above every seat that such a connection holds
		p.access,    // who may not come at all costs nothing more, and learns nothing
		p.version,   // when this version of an API ends: on refusals, too; what has ended asks for no credentials
		p.deadline,  // one point in time bounds all below
		p.shed,      // the process has too much to do: the least important first, before any work
		p.admit,     // body size: refusals that are cheaper than cryptography
		p.logins,    // counts what auth refuses, by address
		p.auth,      // all below may trust the client
		p.limit,     // keyed by a verified client; for a keyed write it only defers its refusal, so that a stored answer is still replayed
		p.dedup,     // claims only if no refusal is deferred and the breaker admits; decides by the effect what becomes of the key
		// cache: after auth, so that its key can hold the client
		p.rewrite,  // only what really goes upstream is rewritten; never across authorisation
		p.fallback, // another upstream, or an answer, while that executes nothing twice
		p.mirror,   // a copy of what goes upstream
		// split: an end with branches; below this line everything is per upstream
		p.token,    // signs who asks, for this upstream; nothing that is refused or replayed above is signed, no copy is
		p.retry,    // each try goes through all that follows, under one budget per upstream
		p.breaker,  // judges every try; its own refusals never count
		p.bulkhead, // a place is given back with the answer's last byte
	)
}
