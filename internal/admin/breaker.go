package admin

import (
	"time"

	"github.com/go-json-experiment/json"
	"github.com/gofiber/fiber/v2"

	"github.com/oncegate/oncegate/internal/breaker"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// postBreaker forces the breaker of an upstream, or lets it judge again: {"state":"open|closed|auto"}. What was forced stays so
// over reloads, until auto or the end of the process. An upstream that there is not, or that has no breaker, is 404.
func (s *Server) postBreaker(c *fiber.Ctx) error {
	var order struct {
		State string `json:"state"`
	}
	err := json.Unmarshal(c.Body(), &order, json.RejectUnknownMembers(true))
	name := c.Params("name")
	cfg, known := s.gateway.Snapshot().Document.Upstreams[name]
	switch {
	case !known || cfg.Breaker == nil:
		return problem(c, pipeline.NotFound)
	case err != nil || order.State != "open" && order.State != "closed" && order.State != "auto":
		return problem(c, pipeline.BadRequest)
	}
	b, now := s.gateway.State().Breaker(name), time.Now()
	switch order.State {
	case "open":
		b.Force(breaker.Open, now)
	case "closed":
		b.Force(breaker.Closed, now)
	default:
		b.Release(now)
	}
	s.audit(c, "breaker", true, "upstream", name, "state", order.State)
	return c.JSON(fiber.Map{"upstream": name, "state": order.State})
}
