package dedup

import (
	"context"
	"slices"
	"time"

	"github.com/oncegate/oncegate/internal/answer"
	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// Keyed calls of gRPC. HTTP's status is 200 whatever came of a call; its own comes last, in trailers or in a head that is all
// there is. The table of what becomes of a key is HTTP's by analogy (pipeline.GRPCAsHTTP), and this is all of it:
//
//	16 UNAUTHENTICATED, 8 RESOURCE_EXHAUSTED              free the key, as 401 and 429 do
//	14 UNAVAILABLE, 4 DEADLINE_EXCEEDED, 1 CANCELLED      unknown, as 502 and 504 are: what stands in between says them, too
//	0 OK and all others, INTERNAL and UNKNOWN included    stored
//	none, malformed, twice, broken off, not by the time   unknown: 200 alone says nothing
//	a code that stands for a status in release_on         frees the key: [503] for UNAVAILABLE
//
// An HTTP status other than 200 comes from something in between, which speaks no gRPC: HTTP's table holds, but 503 is unknown.

// unknownToGRPC are the statuses, of HTTP or stood for, whose sender does not know what became of a call.
var unknownToGRPC = []int{499, 502, 503, 504}

const (
	statusUnknown = "unknown"              // Idempotency-Status of an answer that goes on while nobody knows how it will end
	acceptField   = "Grpc-Accept-Encoding" // of messages, as Accept-Encoding is of bodies
	encodingField = "Grpc-Encoding"        // without it what was stored could not be read
)

// answeredGRPC decides on an answer with HTTP's 200 by the call's own status, for which the body has to end.
func (a *attempt) answeredGRPC(ctx context.Context) error {
	resp := a.x.Response
	body, whole, err := resp.Buffer(int64(a.cfg.MaxAnswer))
	switch {
	case err != nil:
		a.drop()
		return a.unknown(ctx, brokenStatus(err), err)
	case !whole:
		return a.unended(ctx)
	}
	code, ok := a.x.GRPCStatus()
	stands := pipeline.GRPCAsHTTP(code)
	switch {
	case !ok:
		a.drop()
		return a.unknown(ctx, 502, nil)
	case freesKey(stands) || slices.Contains(a.cfg.ReleaseOn, stands):
		a.free(ctx)
		resp.Set(statusField, []byte("executed"))
		return nil
	case slices.Contains(unknownToGRPC, stands):
		a.drop()
		a.code = code
		return a.unknown(ctx, stands, nil)
	}
	res := record.Result{State: record.Sealed, Status: resp.Status()}
	a.complete(&res, body)
	return a.store(ctx, res)
}

// unended passes on what has not ended yet: too large, which is finished and not kept, or late, of which nothing is known.
func (a *attempt) unended(ctx context.Context) error {
	if a.x.Deadline.IsZero() || time.Now().Before(a.x.Deadline) {
		return a.store(ctx, record.Result{State: record.Sealed, Status: a.x.Response.Status()})
	}
	_, _ = a.finish(ctx, record.Result{State: record.Unknown})
	a.settles(a.token)
	a.record(ResultUnknown)
	a.x.Response.Set(statusField, []byte(statusUnknown))
	return nil
}

// drop gives up the upstream's answer for one of ours.
func (a *attempt) drop() {
	a.x.Response.Reset()
	a.x.Trailers = nil
}

// keepStatus adds the gRPC status to a stored answer, wherever it stood. No other trailer is kept.
func (a *attempt) keepStatus(add func(name, value []byte)) {
	a.x.Response.EachField(add)
	a.x.Trailers.Each(func(name, value string) { add([]byte(name), []byte(value)) })
}

// tellStatus puts the stored gRPC status behind the body; without one the head says it, and is all there is.
func (a *attempt) tellStatus(stored answer.Answer) {
	a.x.Trailers = nil
	stored.EachTrailer(func(name, value []byte) {
		if len(stored.Body) == 0 {
			a.x.Response.Add(string(name), value)
			return
		}
		if a.x.Trailers == nil {
			a.x.Trailers = &pipeline.Trailers{}
		}
		a.x.Trailers.Add(string(name), string(value))
	})
}
