package admin

import (
	"maps"
	"slices"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/oncegate/oncegate/internal/ratelimit"
)

// upstreamView is one element of GET upstreams.
type upstreamView struct {
	Name     string       `json:"name"`
	Targets  []targetView `json:"targets"`
	InFlight int          `json:"in_flight"`
	Breaker  *breakerView `json:"breaker"` // null: the upstream has none
}

type targetView struct {
	N        int    `json:"n"`
	URL      string `json:"url"`
	Weight   int    `json:"weight"`
	InFlight int    `json:"in_flight"`
	Idle     int    `json:"idle"`
}

type breakerView struct {
	State string     `json:"state"`
	Since *time.Time `json:"since,omitempty"` // absent: since the start
	Calls int        `json:"calls"`           // in the window
	Fails int        `json:"failed"`
}

func (s *Server) upstreams(c *fiber.Ctx) error {
	snap, now := s.gateway.Snapshot(), time.Now()
	views := []upstreamView{}
	for _, name := range slices.Sorted(maps.Keys(snap.Upstreams)) {
		v := upstreamView{Name: name, Targets: []targetView{}}
		for n, t := range snap.Upstreams[name].Targets() {
			v.Targets = append(v.Targets, targetView{n, t.URL, t.Weight, t.InFlight, t.Idle})
			v.InFlight += t.InFlight
		}
		if snap.Document.Upstreams[name].Breaker != nil {
			shot := s.gateway.State().Breaker(name).Snapshot(now)
			v.Breaker = &breakerView{State: shot.State.String(), Calls: shot.Calls, Fails: shot.Failed}
			if !shot.Since.IsZero() {
				v.Breaker.Since = &shot.Since
			}
		}
		views = append(views, v)
	}
	return c.JSON(views)
}

// limitView is one element of GET limits.
type limitView struct {
	Name      string   `json:"name"`
	Rate      string   `json:"rate"`
	Burst     int64    `json:"burst"`
	By        string   `json:"by"`
	Cost      int      `json:"cost"`
	Mode      string   `json:"mode"`
	OnMissing string   `json:"on_missing"`
	Routes    []string `json:"routes"` // that use it
}

func (s *Server) limits(c *fiber.Ctx) error {
	doc := s.gateway.Snapshot().Document
	views := []limitView{}
	for _, name := range slices.Sorted(maps.Keys(doc.RateLimits)) {
		cfg := doc.RateLimits[name]
		_, burst, _ := ratelimit.Compile(name, cfg).Spec()
		v := limitView{name, cfg.Rate.String(), burst, cfg.By, cfg.Cost, cfg.Mode, cfg.OnMissing, []string{}}
		for _, r := range doc.Routes {
			if slices.Contains(r.RateLimits, name) {
				v.Routes = append(v.Routes, r.ID)
			}
		}
		views = append(views, v)
	}
	return c.JSON(views)
}
