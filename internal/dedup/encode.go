package dedup

import (
	"bytes"

	"github.com/oncegate/oncegate/internal/answer"
	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/wire"
)

// complete makes the answer one that can be told again. An answer that can't be sealed is not kept: it never goes to the store
// in the clear. Neither is one beyond what its client may have stored.
func (a *attempt) complete(res *record.Result, body []byte) {
	sealed, err := a.records.sealer.Load().Seal(a.encode(res.Status, body), a.key[:], a.clientKey())
	if err != nil {
		a.records.log.Error("an answer could not be sealed and is not kept", "operation_ref", a.records.ref(a.key), "error", err)
		return
	}
	if a.records.caps.mayStore(a.subject, a.cfg.PerClient, len(sealed), a.cfg.Keep.Answer.Std()) {
		res.State, res.Answer = record.Completed, sealed
	}
}

// clientKey is the idempotency key as the client chose it.
func (a *attempt) clientKey() []byte {
	key, _ := wire.ParseKey(single(a.x.Request, keyField))
	return key
}

// isEventStream: such an answer has no end to wait for.
func isEventStream(contentType []byte) bool {
	const sse = "text/event-stream"
	return len(contentType) >= len(sse) && bytes.EqualFold(contentType[:len(sse)], []byte(sse))
}

// encode copies what may be told again. The memory is its own: it may outlive the exchange in the backlog.
func (a *attempt) encode(status int, body []byte) []byte {
	var b answer.Builder
	b.Begin(status)
	a.x.Response.EachField(func(name, value []byte) {
		if a.kept.Has(name) || a.grpc && wire.EqualFold(name, encodingField) {
			b.Field(name, value)
		}
	})
	if a.grpc {
		a.keepStatus(b.Trailer)
	}
	return b.End(body)
}
