package h1

import (
	"errors"
	"net"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// unreadable answers a head that fasthttp could not read, by an exchange that knows no more than the method. err quotes what
// the client sent, so it goes nowhere. Silence is no request: nobody logs it.
func (e *Edge) unreadable(ctx *fasthttp.RequestCtx, err error) {
	c, ok := ctx.Conn().(*conn)
	if !ok {
		return
	}
	if c.phase.Swap(phaseServing) == phaseNew && isTimeout(err) && !e.stopping.Load() {
		e.faults.Add(edge.Silent)
	}
	defer e.rescue(ctx, c)
	ex := e.begin(ctx, c)
	ex.req.begin(c.method(), 0)
	ex.req.Head.Reset()
	ex.identify(false)
	ex.giveUp()
	ctx.Response.SkipBody = ex.isHead()
	var refusal error = faultOf(err)
	if c.draft.left {
		refusal = pipeline.ClientGone
	}
	if c.head > 0 {
		refusal = ex.refused(refusal)
	}
	ex.render(refusal)
}

// Faults are silent clients and, without a port of both protocols, those of TLS.
func (e *Edge) Faults() *edge.Faults { return &e.faults }

func faultOf(err error) pipeline.Refusal {
	var small *fasthttp.ErrSmallBuffer
	switch {
	case errors.As(err, &small), errors.Is(err, fasthttp.ErrSmallReadBuffer):
		return pipeline.HeaderTooLarge
	case isTimeout(err):
		return pipeline.RequestTimeout
	case otherVersion(err):
		return pipeline.VersionNotSupported
	}
	return pipeline.BadRequest
}

// otherVersion reports that the head was fine but for its version: HTTP/ with another number. fasthttp has no error value for
// that, so its text is read; a broken request line makes it complain about the version, too.
func otherVersion(err error) bool {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	_, version, found := strings.Cut(err.Error(), `unsupported http version "HTTP/`)
	version, _, closed := strings.Cut(version, `"`)
	return found && closed && version != "" && strings.Trim(version, "0123456789.") == ""
}

// connLog takes what fasthttp says of connections. Its texts may quote a client, so only the kind of trouble is kept.
type connLog struct{ e *Edge }

func (l connLog) Printf(_ string, args ...any) {
	for _, a := range args {
		err, ok := a.(error)
		if !ok {
			continue
		}
		var op *net.OpError
		switch {
		case errors.As(err, &op):
			l.e.log.Debug("connection failed", "op", op.Op, "error", op.Err)
		case pipeline.KindOf(err) != pipeline.Internal:
			l.e.log.Debug("connection failed", "kind", pipeline.KindOf(err).Slug())
		default:
			l.e.log.Debug("connection failed")
		}
		return
	}
}
