package admin

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gofiber/fiber/v2"
)

// changeView is one element of GET config/changes: what runs otherwise than the document says, by order of the admin API.
type changeView struct {
	Path     string `json:"path"`
	Document any    `json:"document"`
	Running  any    `json:"running"`
	Until    string `json:"until"` // reload, or auto for a breaker
}

// configChanges shows what the next reload, or auto, takes back: changed weights of splits and forced breakers. The paths are
// those of gateway diff.
func (s *Server) configChanges(c *fiber.Ctx) error { return c.JSON(s.changes()) }

func (s *Server) changes() []changeView {
	snap, views := s.gateway.Snapshot(), []changeView{}
	for _, r := range snap.Document.Routes {
		split := snap.Split(r.ID)
		if split == nil {
			continue
		}
		running := split.Weights()
		for i, arm := range r.To.Split {
			if now := running[arm.Upstream]; now != arm.Weight {
				views = append(views, changeView{fmt.Sprintf("routes.%s.to.split[%d].weight", r.ID, i), arm.Weight, now, "reload"})
			}
		}
	}
	return append(views, s.forcedBreakers()...)
}

func (s *Server) forcedBreakers() (views []changeView) {
	upstreams := s.gateway.Snapshot().Document.Upstreams
	for _, name := range slices.Sorted(maps.Keys(upstreams)) {
		if upstreams[name].Breaker == nil {
			continue
		}
		if shot := s.gateway.State().Breaker(name).Snapshot(time.Now()); shot.Forced {
			views = append(views, changeView{"upstreams." + name + ".breaker", "auto", shot.State.String(), "auto"})
		}
	}
	return views
}
