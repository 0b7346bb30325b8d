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

// postRevocation voids tokens at once: {"issuer","jti"}, {"issuer","sid"} or {"issuer","sub","before"}. The issuer is its name in
// the document, or the iss of its tokens when one issuer alone has it. One that there is not is 404; one whose revocation is off, and what is no revocation, 400; no room 503. When the other gateways could not be told,
// the answer is 503, too, and says that the tokens are void here: the others are told as soon as they can be.
func (s *Server) postRevocation(c *fiber.Ctx) error {
	r, err := auth.ParseRevocation(c.Body())
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), storeTime)
		defer cancel()
		err = s.gateway.Snapshot().Authority.Revoke(ctx, r, time.Now())
	}
	alone := errors.Is(err, auth.ErrNotShared)
	s.audit(c, "revoke", err == nil || alone, "issuer", r.Issuer, "by_id", r.JTI != "", "by_session", r.SID != "", "by_subject", r.Sub != "", "shared", err == nil)
	switch {
	case err == nil:
		return c.JSON(fiber.Map{"result": "revoked"})
	case alone:
		return revokedHere(c)
	case errors.Is(err, auth.ErrNoIssuer):
		return problem(c, pipeline.NotFound)
	case errors.Is(err, revoke.ErrFull):
		return problem(c, pipeline.StoreUnavailable)
	}
	return problem(c, pipeline.BadRequest)
}

// revokedHere is a problem with a result.
func revokedHere(c *fiber.Ctx) error {
	kind := pipeline.StoreUnavailable
	c.Set("Cache-Control", "no-store")
	c.Status(kind.Status())
	err := c.JSON(fiber.Map{
		"type": "urn:oncegate:problem:" + kind.Error(), "title": "Not shared", "status": kind.Status(), "result": "revoked_here",
		"detail": "The tokens are void at this gateway. The others could not be told; they are told when the store answers again, if this gateway runs until then.",
	})
	c.Set(fiber.HeaderContentType, "application/problem+json")
	return err
}
