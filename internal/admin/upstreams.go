package admin

import (
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/oncegate/oncegate/internal/breaker"
	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/ratelimit"
	"github.com/oncegate/oncegate/internal/upstream"
)

// upstreamView is one element of GET upstreams.
type upstreamView struct {
	Name     string       `json:"name"`
	Targets  []targetView `json:"targets"`
	InFlight int          `json:"in_flight"`
	Balance  string       `json:"balance"`
	Panic    bool         `json:"panic"` // too few targets are usable: all are used
	DNS      *dnsView     `json:"dns,omitempty"`
	Breaker  *breakerView `json:"breaker"` // null: the upstream has none

	Bulkhead *bulkheadView `json:"bulkhead,omitempty"`
	Retries  *retriesView  `json:"retries,omitempty"`
}

type targetView struct {
	N        int    `json:"n"`
	URL      string `json:"url"`
	Weight   int    `json:"weight"`
	InFlight int    `json:"in_flight"`
	Idle     int    `json:"idle"`

	State      string     `json:"state"` // up, starting, ejected, unhealthy or drained
	Reason     string     `json:"reason,omitempty"`
	Until      *time.Time `json:"until,omitempty"` // the end of an ejection
	Healthy    bool       `json:"healthy"`         // by active checks
	LatencyMS  float64    `json:"latency_ms"`      // usual; 0: not known
	FailedRate float64    `json:"failed_rate"`     // lately, 0 to 1
	Ejections  uint64     `json:"ejections"`
}

// dnsView is what DNS says of an upstream's targets.
type dnsView struct {
	Name  string `json:"name"`
	Stale bool   `json:"stale"` // the newest look-up failed: the last good answer stands
}

func viewOfTarget(n int, t *upstream.TargetInfo) targetView {
	v := targetView{N: n, URL: t.URL, Weight: t.Weight, InFlight: t.InFlight, Idle: t.Idle, State: t.State, Reason: t.Reason, Healthy: t.Healthy,
		LatencyMS:  float64(t.Latency.Microseconds()) / 1000,
		FailedRate: math.Round(t.Failing*1000) / 1000, Ejections: t.EjectedErrors + t.EjectedDials}
	if !t.Until.IsZero() {
		v.Until = &t.Until
	}
	return v
}

type breakerView struct {
	State string     `json:"state"`
	Since *time.Time `json:"since,omitempty"` // absent: since the start
	Calls int        `json:"calls"`           // in the window
	Fails int        `json:"failed"`

	Forced   bool           `json:"forced,omitempty"`   // by the operator
	Reason   breaker.Reason `json:"reason,omitempty"`   // of the latest opening
	Openings int            `json:"openings,omitempty"` // in a row that probes did not end
}

type bulkheadView struct {
	InFlight int    `json:"in_flight"`
	Waiting  int    `json:"waiting"`
	Learned  int    `json:"learned,omitempty"` // what adaptive has found
	Refused  uint64 `json:"refused"`           // since the start
}

type retriesView struct {
	Calls   int `json:"calls"`   // in the last ten seconds
	Retries int `json:"retries"` // hedges included
}

// guards shows what stands before an upstream, apart from the breaker.
func (s *Server) guards(v *upstreamView, cfg config.UpstreamConfig, now time.Time) {
	if cfg.Bulkhead != nil {
		shot := s.gateway.State().Bulkhead(v.Name)
		v.Bulkhead = &bulkheadView{shot.InFlight, shot.Waiting, shot.Learned, shot.Refused}
	}
	if cfg.Retry != nil {
		calls, retries := s.gateway.State().Retries(v.Name, now)
		v.Retries = &retriesView{calls, retries}
	}
}

func (s *Server) upstreams(c *fiber.Ctx) error { return c.JSON(s.upstreamViews()) }

func (s *Server) upstreamViews() []upstreamView {
	snap, now := s.gateway.Snapshot(), time.Now()
	views := []upstreamView{}
	for _, name := range slices.Sorted(maps.Keys(snap.Upstreams)) {
		up, cfg := snap.Upstreams[name], snap.Document.Upstreams[name]
		info := up.Info()
		v := upstreamView{Name: name, Targets: []targetView{}, Balance: cfg.Balance, Panic: info.Panic}
		if cfg.DNS != nil {
			v.DNS = &dnsView{cfg.DNS.Name, info.Stale}
		}
		for n, t := range up.Targets() {
			v.Targets = append(v.Targets, viewOfTarget(n, &t))
			v.InFlight += t.InFlight
		}
		if cfg.Breaker != nil {
			shot := s.gateway.State().Breaker(name).Snapshot(now)
			v.Breaker = &breakerView{State: shot.State.String(), Calls: shot.Calls, Fails: shot.Failed, Forced: shot.Forced, Reason: shot.Why, Openings: shot.Openings}
			if !shot.Since.IsZero() {
				v.Breaker.Since = &shot.Since
			}
		}
		s.guards(&v, snap.Document.Upstreams[name], now)
		views = append(views, v)
	}
	return views
}

// drain takes a target out of use, or with DELETE back into it. n counts as GET upstreams does; the address of a target may
// stand in its place, which DNS does not renumber.
func (s *Server) drain(c *fiber.Ctx) error {
	up := s.gateway.Snapshot().Upstreams[c.Params("name")]
	if up == nil {
		return problem(c, pipeline.NotFound)
	}
	address, on := c.Params("n"), c.Method() != fiber.MethodDelete
	if decoded, err := url.PathUnescape(address); err == nil {
		address = decoded
	}
	if n, err := strconv.Atoi(address); err == nil {
		address = ""
		if all := up.Targets(); n >= 0 && n < len(all) {
			address = all[n].Address
		}
	}
	found := up.Drain(address, on)
	s.audit(c, "drain", found, "upstream", c.Params("name"), "target", address, "drained", on)
	if !found {
		return problem(c, pipeline.NotFound)
	}
	return c.JSON(fiber.Map{"result": "success", "drained": on})
}

// limitView is one element of GET limits. What the kind of the limit has not is left out.
type limitView struct {
	Name           string   `json:"name"`
	Kind           string   `json:"kind"` // rate, quota or in_flight
	Rate           string   `json:"rate,omitempty"`
	Burst          int64    `json:"burst,omitempty"`
	Quota          string   `json:"quota,omitempty"`
	Zone           string   `json:"zone,omitempty"`
	Rolling        bool     `json:"rolling,omitempty"`
	InFlight       int      `json:"in_flight,omitempty"`
	By             string   `json:"by"`
	Cost           int      `json:"cost"` // without method and size
	Plans          any      `json:"plans,omitempty"`
	Reserve        string   `json:"reserve,omitempty"`
	Scope          string   `json:"scope"`
	OnStoreFailure string   `json:"on_store_failure,omitempty"`
	Mode           string   `json:"mode"`
	OnMissing      string   `json:"on_missing"`
	Routes         []string `json:"routes"` // that use it
}

func (s *Server) limits(c *fiber.Ctx) error {
	views, err := s.limitViews()
	if err != nil {
		return err
	}
	return c.JSON(views)
}

func (s *Server) limitViews() ([]limitView, error) {
	plain, err := s.document()
	if err != nil {
		return nil, err
	}
	rows, _ := plain["rate_limits"].(map[string]any)
	doc := s.gateway.Snapshot().Document
	views := []limitView{}
	for _, name := range slices.Sorted(maps.Keys(doc.RateLimits)) {
		v := viewOfLimit(name, doc.RateLimits[name])
		if row, ok := rows[name].(map[string]any); ok {
			v.Plans = row["plans"]
		}
		for _, r := range doc.Routes {
			if slices.ContainsFunc(r.RateLimits, func(u ratelimit.Use) bool { return u.Name == name }) || r.FailedLogins == name {
				v.Routes = append(v.Routes, r.ID)
			}
		}
		views = append(views, v)
	}
	return views, nil
}

func viewOfLimit(name string, cfg ratelimit.Config) limitView {
	limit := ratelimit.Compile(name, cfg)
	v := limitView{Name: name, Kind: limit.Kind().String(), Rate: cfg.Rate.String(), Quota: cfg.Quota.String(), InFlight: cfg.InFlight,
		By: strings.Join(cfg.By, ", "), Cost: cfg.Cost.Base, Scope: cfg.Scope, Mode: cfg.Mode, OnMissing: cfg.OnMissing, Routes: []string{}}
	switch limit.Kind() {
	case ratelimit.Bucket:
		_, v.Burst, _ = limit.Spec()
	case ratelimit.Window:
		v.Zone, v.Rolling = cfg.Zone, cfg.Rolling
	}
	if cfg.Reserve > 0 {
		v.Reserve = cfg.Reserve.String()
	}
	if limit.Shared() {
		v.OnStoreFailure = cfg.OnStoreFailure
	}
	return v
}
