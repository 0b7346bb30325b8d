package admin

import (
	"context"
	"errors"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/auth/revoke"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// postRevocation voids tokens at once: {"issuer","jti"}, {"issuer","sid"} or {"issuer","sub","before"}. An issuer that there is
// not is 404; one whose revocation is off, and what is no revocation, 400; no room, or nodes that could not be told, 503.
func (s *Server) postRevocation(c *fiber.Ctx) error {
	r, err := auth.ParseRevocation(c.Body())
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), storeTime)
		defer cancel()
		err = s.gateway.Snapshot().Authority.Revoke(ctx, r, time.Now())
	}
	s.audit(c, "revoke", err == nil, "issuer", r.Issuer, "by_id", r.JTI != "", "by_session", r.SID != "", "by_subject", r.Sub != "")
	switch {
	case err == nil:
		return c.JSON(fiber.Map{"result": "revoked"})
	case errors.Is(err, auth.ErrNoIssuer):
		return problem(c, pipeline.NotFound)
	case errors.Is(err, revoke.ErrFull), errors.Is(err, auth.ErrNotShared):
		return problem(c, pipeline.StoreUnavailable)
	}
	return problem(c, pipeline.BadRequest)
}
