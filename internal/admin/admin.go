// Package admin is the operator's port: health, metrics, the admin API and a page to look at, on its own Fiber app.
//
// It promises that health and metrics answer whatever the data path does, and that the API and the page are closed to browsers of foreign
// pages and, when a token is set, to everybody without it. It never serves the data path and shows no secret.
package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/gateway"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// Server is the admin port.
type Server struct {
	app     *fiber.App
	name    string // of the host in admin.address
	gateway *gateway.Gateway
	reload  *gateway.Reloader
	logger  *slog.Logger
	ready   atomic.Bool
	began   atomic.Int64 // when ready became true, in Unix nanoseconds
	settled atomic.Bool  // it has been ready once: from then on missing keys take it out no more
}

// New makes the port's app; it is not ready until Ready(true).
func New(cfg config.AdminConfig, g *gateway.Gateway, reload *gateway.Reloader, logger *slog.Logger) *Server {
	s := &Server{name: hostname(cfg.Address), gateway: g, reload: reload, logger: logger}
	s.app = fiber.New(fiber.Config{
		DisableStartupMessage: true, CaseSensitive: true, StrictRouting: true,
		ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 60 * time.Second,
		BodyLimit: 1 << 20, Concurrency: 256, ErrorHandler: s.failed,
	})
	s.app.Get("/livez", func(c *fiber.Ctx) error { return c.SendString("ok\n") })
	s.app.Get("/readyz", s.readyz)
	s.app.Get("/metrics", s.metrics)
	s.app.Get("/.well-known/jwks.json", s.jwks)
	s.app.Get("/console", s.consoleHead, s.own, s.consoleToken, s.console)
	s.app.Get("/console/", s.consoleHead, s.own, s.consoleToken, s.console)
	api := s.app.Group("/api/v1", s.own, s.token)
	api.Get("/routes", s.routes)
	api.Put("/routes/:id/split", s.putSplit)
	api.Get("/upstreams", s.upstreams)
	api.Post("/upstreams/:name/breaker", s.postBreaker)
	api.Post("/upstreams/:name/targets/:n/drain", s.drain)
	api.Delete("/upstreams/:name/targets/:n/drain", s.drain)
	api.Get("/limits", s.limits)
	api.Get("/limits/:name/usage", s.limitUsage)
	api.Delete("/limits/:name/usage", s.resetLimit)
	api.Get("/config", s.config)
	api.Get("/config/errors", s.configErrors)
	api.Get("/config/changes", s.configChanges)
	api.Post("/reload", s.postReload)
	api.Post("/revocations", s.postRevocation)
	api.Get("/executions", s.executions)
	api.Post("/executions/:ref/settle", s.settle)
	api.Delete("/subjects/:sub", s.eraseSubject)
	return s
}

// Serve answers on ln until Shutdown.
func (s *Server) Serve(ln net.Listener) error { return s.app.Listener(ln) }

// Shutdown stops the port.
func (s *Server) Shutdown(ctx context.Context) error { return s.app.ShutdownWithContext(ctx) }

func (s *Server) metrics(c *fiber.Ctx) error {
	kind, body, err := s.gateway.State().Metrics.Exposition(c.Get("Accept"))
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderContentType, kind)
	return c.Send(body)
}

// jwks publishes the public keys of the gateway's own tokens. It is open as metrics are: upstreams verify with them.
func (s *Server) jwks(c *fiber.Ctx) error {
	signer := s.gateway.Snapshot().Signer
	if signer == nil {
		return problem(c, pipeline.NotFound)
	}
	c.Set(fiber.HeaderContentType, "application/jwk-set+json")
	c.Set(fiber.HeaderCacheControl, "public, max-age=300")
	return c.Send(signer.JWKS())
}

// own keeps out foreign pages (by Origin) and names that were rebound to this address (by Host).
func (s *Server) own(c *fiber.Ctx) error {
	if !s.ownHost(string(c.Request().Host())) || !s.ownOrigin(c.Get("Origin"), string(c.Request().Host())) {
		return problem(c, pipeline.Forbidden)
	}
	return c.Next()
}

const bearerChallenge = `Bearer realm="oncegate-admin"`

// token keeps out callers without the token.
func (s *Server) token(c *fiber.Ctx) error {
	scheme, got, _ := strings.Cut(c.Get("Authorization"), " ")
	if !s.admits(strings.EqualFold(scheme, "bearer"), got) {
		c.Set("WWW-Authenticate", bearerChallenge)
		return problem(c, pipeline.Unauthenticated)
	}
	return c.Next()
}

// admits compares with the token of the running document, which a reload may have changed, in a time that tells nothing of it.
func (s *Server) admits(sent bool, got string) bool {
	want := s.gateway.Snapshot().Document.Admin.Token.Reveal()
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return want == "" || sent && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// ownHost takes addresses, localhost and the name in admin.address; a name that somebody else's DNS points here is none.
func (s *Server) ownHost(host string) bool {
	name := hostname(host)
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return strings.EqualFold(name, "localhost") || name != "" && strings.EqualFold(name, s.name)
}

func (s *Server) ownOrigin(origin, host string) bool {
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}

func hostname(hostport string) string {
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		return h
	}
	return strings.Trim(hostport, "[]")
}

func (s *Server) failed(c *fiber.Ctx, err error) error {
	kind := pipeline.Internal
	if e, ok := err.(*fiber.Error); ok {
		switch e.Code {
		case 404:
			kind = pipeline.NotFound
		case 405:
			kind = pipeline.MethodNotAllowed
		case 400:
			kind = pipeline.BadRequest
		case 413:
			kind = pipeline.TooLarge
		}
	}
	if kind == pipeline.Internal {
		s.logger.Error("admin request failed", "path", c.Route().Path, "error", err.Error())
	}
	return problem(c, kind)
}

func problem(c *fiber.Ctx, kind pipeline.Refusal) error {
	c.Set("Cache-Control", "no-store")
	c.Status(kind.Status())
	body := pipeline.AppendProblem(nil, kind, nil, &pipeline.Problem{})
	c.Set(fiber.HeaderContentType, "application/problem+json")
	return c.Send(body)
}
