package admin

import (
	"context"
	"encoding/json"
	"math"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/oncegate/oncegate/internal/gateway"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/ratelimit"
)

// usageTime bounds a call to the store of shared limits, which bounds its own at a fraction of it.
const usageTime = time.Second

// usageView is the answer to GET limits/{name}/usage.
type usageView struct {
	Name       string `json:"name"`
	Kind       string `json:"kind"` // rate, quota or in_flight
	Scope      string `json:"scope"`
	Plan       string `json:"plan,omitempty"`
	Word       string `json:"word,omitempty"`  // deny or unlimited: nothing is counted
	Limit      int64  `json:"limit,omitempty"` // burst, quota or places
	Left       *int64 `json:"left,omitempty"`  // below zero is debt
	Taken      *int64 `json:"taken,omitempty"` // of in_flight
	RetryAfter *int64 `json:"retry_after,omitempty"`
	Reset      *int64 `json:"reset,omitempty"`
	Held       *int64 `json:"held,omitempty"`          // of a shared limit: drawn by this gateway, part of left
	Reached    *bool  `json:"store_reached,omitempty"` // of a shared limit
}

// limitUsage shows what there is of one client's part of a limit.
func (s *Server) limitUsage(c *fiber.Ctx) error {
	q, err := s.question(c)
	if err != nil {
		return complain(c, err)
	}
	v := usageView{Name: q.limit.Name(), Kind: q.limit.Kind().String(), Scope: "local", Plan: q.plan, Word: q.limit.Word(), Limit: int64(q.limit.Burst())}
	if q.limit.Shared() {
		v.Scope = "shared"
	}
	c.Set("Cache-Control", "no-store")
	if v.Word != "" {
		return c.JSON(v)
	}
	ctx, cancel := context.WithTimeout(context.Background(), usageTime)
	defer cancel()
	u := s.gateway.State().LimitUsage(ctx, q.key, q.limit)
	v.fill(q.limit, &u)
	return c.JSON(v)
}

func (v *usageView) fill(l *ratelimit.Limit, u *gateway.Usage) {
	slots := l.Kind() == ratelimit.Slots
	if l.Shared() {
		if v.Reached = &u.Reached; !slots {
			v.Held = &u.Held
		}
	}
	if !u.Known {
		return
	}
	left := int64(math.Floor(u.Left))
	if v.Left = &left; slots {
		taken := v.Limit - left
		v.Taken = &taken
		return
	}
	if u.Wait != ratelimit.Never {
		v.RetryAfter = wholeSeconds(u.Wait)
	}
	v.Reset = wholeSeconds(u.Reset)
}

// wholeSeconds rounds up, as the fields of answers do; nothing is left out.
func wholeSeconds(d time.Duration) *int64 {
	if d <= 0 {
		return nil
	}
	n := int64((d-1)/time.Second) + 1
	return &n
}

// resetLimit makes one client's bucket full, or its quota unused.
func (s *Server) resetLimit(c *fiber.Ctx) error {
	q, err := s.question(c)
	if err != nil {
		return complain(c, err)
	}
	if q.limit.Kind() == ratelimit.Slots {
		return problemOf(c, 409, "in-flight", "Requests in flight", "places get free when their requests end: there is nothing to reset")
	}
	ctx, cancel := context.WithTimeout(context.Background(), usageTime)
	defer cancel()
	err = s.gateway.State().ForgetLimit(ctx, q.key, q.limit)
	s.audit(c, "reset limit", err == nil, append([]any{"limit", q.limit.Name()}, q.said...)...)
	if err != nil {
		s.logger.Error("the store of shared limits does not answer the admin port", "error", err.Error())
		c.Set("Retry-After", "1")
		return problem(c, pipeline.StoreUnavailable)
	}
	return c.SendStatus(fiber.StatusNoContent)
}

// problemOf is a problem in words of its own.
func problemOf(c *fiber.Ctx, status int, slug, title, detail string) error {
	body, err := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{"urn:oncegate:problem:" + slug, title, status, detail})
	if err != nil {
		return err
	}
	c.Set("Cache-Control", "no-store")
	c.Set(fiber.HeaderContentType, "application/problem+json")
	return c.Status(status).Send(append(body, '\n'))
}
