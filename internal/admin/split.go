package admin

import (
	"github.com/go-json-experiment/json"
	"github.com/gofiber/fiber/v2"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// putSplit sets the weights of a route's split until the next reload: {"orders": 90, "orders-v2": 10}, every arm by name. A
// route that there is not, or that has no split, is 404.
func (s *Server) putSplit(c *fiber.Ctx) error {
	id := c.Params("id")
	split := s.gateway.Snapshot().Split(id)
	if split == nil {
		return problem(c, pipeline.NotFound)
	}
	before := split.Weights()
	var weights map[string]int
	if json.Unmarshal(c.Body(), &weights) != nil || split.SetWeights(weights) != nil {
		return problem(c, pipeline.BadRequest)
	}
	s.audit(c, "split", true, "route", id, "before", before, "after", weights)
	return c.JSON(fiber.Map{"route": id, "weights": split.Weights()})
}
