package admin

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/gofiber/fiber/v2"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/pipeline"
)

const (
	defaultKeepKey = 72 * time.Hour // when the route of the write is gone
	mostReason     = 1000           // bytes
	mostLocation   = 2000           // bytes
)

// settlement is the body of POST executions/{operation_ref}/settle.
type settlement struct {
	Outcome  string `json:"outcome"`  // executed or not_executed
	Status   *int   `json:"status"`   // executed: of the answer, 200 to 599
	Location string `json:"location"` // executed: where the result is
	Reason   string `json:"reason"`   // for the log
}

// parseSettlement is strict: an unknown or repeated member may be a misspelt one, and what is settled stays settled.
func parseSettlement(body []byte) (v settlement, ok bool) {
	if json.Unmarshal(body, &v, json.RejectUnknownMembers(true)) != nil {
		return v, false
	}
	wasExecuted := v.Outcome == "executed"
	switch {
	case !wasExecuted && v.Outcome != "not_executed":
		return v, false
	case !wasExecuted && (v.Status != nil || v.Location != ""): // what was not executed has no answer
		return v, false
	case v.Status != nil && (*v.Status < 200 || *v.Status > 599):
		return v, false
	case len(v.Location) > mostLocation || strings.ContainsFunc(v.Location, control) || len(v.Reason) > mostReason:
		return v, false
	}
	return v, true
}

func control(r rune) bool { return r < ' ' || r == 0x7f }

// settle takes an operator's word on an unknown outcome.
func (s *Server) settle(c *fiber.Ctx) error {
	ref := c.Params("ref")
	v, ok := parseSettlement(c.Body())
	if !ok {
		return problem(c, pipeline.BadRequest)
	}
	records := s.gateway.State().Records()
	if records == nil {
		return problem(c, pipeline.NotFound)
	}
	after, err := s.settleAs(records, ref, v)
	if errors.Is(err, dedup.ErrNoExecution) {
		return problem(c, pipeline.NotFound)
	}
	s.audit(c, "settle", err == nil, "operation_ref", ref, "route", after.Route, "outcome", v.Outcome, "reason", v.Reason)
	switch {
	case errors.Is(err, dedup.ErrNotUnknown):
		return notUnknown(c, after)
	case err != nil:
		return s.storeDown(c, err)
	}
	c.Set("Cache-Control", "no-store")
	return c.JSON(viewOf(after))
}

// settleAs keeps the key as long as the write's own route says.
func (s *Server) settleAs(records *dedup.Records, ref string, v settlement) (dedup.Execution, error) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	before, err := records.Execution(ctx, ref)
	if err != nil {
		return before, err
	}
	how := dedup.Settlement{Executed: v.Outcome == "executed", Location: v.Location, KeepKey: s.keepKey(before.Route)}
	if v.Status != nil {
		how.Status = *v.Status
	}
	after, err := records.Settle(ctx, ref, how)
	if after.Route == "" { // nothing is left of it, or nothing came
		after.Route = before.Route
	}
	return after, err
}

func (s *Server) keepKey(route string) time.Duration {
	for _, r := range s.gateway.Snapshot().Document.Routes {
		if r.ID == route && r.Dedup != nil {
			return r.Dedup.Keep.Key.Std()
		}
	}
	return defaultKeepKey
}

// notUnknown refuses to settle what is known, and says what is.
func notUnknown(c *fiber.Ctx, e dedup.Execution) error {
	b := append([]byte(nil), `{"type":"urn:oncegate:problem:not-unknown","title":"Outcome not unknown","status":409,`+
		`"detail":"Only an unknown outcome can be settled.","executed":"`...)
	b = append(append(b, executed(e).String()...), `","state":"`...)
	b = append(append(b, e.State.String()...), `","operation_ref":"`...)
	b = append(append(b, e.Ref...), '"')
	if e.Status != 0 {
		b = strconv.AppendInt(append(b, `,"original_status":`...), int64(e.Status), 10)
	}
	c.Set("Cache-Control", "no-store")
	c.Set(fiber.HeaderContentType, "application/problem+json")
	return c.Status(fiber.StatusConflict).Send(append(b, '}', '\n'))
}

// audit logs a change with who and what.
func (s *Server) audit(c *fiber.Ctx, change string, ok bool, what ...any) {
	s.logger.Info("admin change", append([]any{"change", change, "by", c.Context().RemoteAddr().String(), "ok", ok}, what...)...)
}
