package admin

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// keysGrace is how long a gateway that has just started waits for the keys of its issuers before it calls itself ready
// without them. An issuer that is down must not keep the whole fleet from starting: its own routes answer 503.
const keysGrace = 3 * time.Second

// Ready says whether the gateway takes requests; /readyz answers no while it does not.
func (s *Server) Ready(ready bool) {
	s.began.CompareAndSwap(0, time.Now().UnixNano())
	s.ready.Store(ready)
}

// readyz answers 200 from the moment that every issuer has keys, or keysGrace after the start. From then on an issuer
// without keys is told, and nothing more: what others are asked with still works.
func (s *Server) readyz(c *fiber.Ctx) error {
	if !s.ready.Load() {
		return problem(c, pipeline.Draining)
	}
	missing := slices.Sorted(maps.Keys(s.gateway.Snapshot().Authority.Ready()))
	if len(missing) == 0 || time.Since(time.Unix(0, s.began.Load())) > keysGrace {
		s.settled.Store(true)
	}
	if !s.settled.Load() {
		c.Status(fiber.StatusServiceUnavailable)
	}
	c.Set(fiber.HeaderCacheControl, "no-store")
	if strings.Contains(c.Get(fiber.HeaderAccept), fiber.MIMEApplicationJSON) {
		return c.JSON(struct {
			Ready   bool     `json:"ready"`
			Missing []string `json:"issuers_without_keys"`
		}{s.settled.Load(), append([]string{}, missing...)})
	}
	text := "ok\n"
	if !s.settled.Load() {
		text = "not ready\n"
	}
	if len(missing) > 0 {
		text += "issuers without keys: " + strings.Join(missing, ", ") + "\n"
	}
	return c.SendString(text)
}
