package admin

import (
	"encoding/json"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/gofiber/fiber/v2"

	"github.com/oncegate/oncegate/internal/config"
)

// routeView is one element of GET routes.
type routeView struct {
	ID         string         `json:"id"`
	Match      any            `json:"match"`
	Auth       any            `json:"auth"`
	RateLimits []string       `json:"rate_limits"`
	Dedup      any            `json:"dedup,omitempty"`
	Timeout    string         `json:"timeout"`
	Body       string         `json:"body"`
	Upstream   string         `json:"upstream"`
	Split      map[string]int `json:"split,omitempty"` // the weights in force
}

// document is the effective document as plain values, secrets redacted.
func (s *Server) document() (map[string]any, error) {
	text, err := yaml.YAMLToJSON(config.Print(s.gateway.Snapshot().Document))
	if err != nil {
		return nil, err
	}
	var doc map[string]any
	return doc, json.Unmarshal(text, &doc)
}

func (s *Server) config(c *fiber.Ctx) error {
	doc, err := s.document()
	if err != nil {
		return err
	}
	return c.JSON(doc)
}

func (s *Server) routes(c *fiber.Ctx) error {
	views, err := s.routeViews()
	if err != nil {
		return err
	}
	return c.JSON(views)
}

func (s *Server) routeViews() ([]routeView, error) {
	doc, err := s.document()
	if err != nil {
		return nil, err
	}
	plain, _ := doc["routes"].([]any)
	configs := s.gateway.Snapshot().Document.Routes
	views := make([]routeView, len(configs))
	for i, r := range configs {
		row, _ := plain[i].(map[string]any)
		limits := []string{}
		for _, use := range r.RateLimits {
			limits = append(limits, use.Name)
		}
		views[i] = routeView{ID: r.ID, Match: row["match"], Auth: row["auth"], RateLimits: limits, Dedup: row["dedup"],
			Timeout: r.Timeout.String(), Body: r.Body.String(), Upstream: strings.Join(r.To.Names(), " ")}
		if split := s.gateway.Snapshot().Split(r.ID); split != nil {
			views[i].Split = split.Weights()
		}
	}
	return views, nil
}

// problemView is one element of GET config/errors.
type problemView struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Path    string `json:"path"`
	Message string `json:"message"`
	Meant   string `json:"did_you_mean,omitempty"`
}

func (s *Server) problems() []problemView {
	views := []problemView{}
	for _, p := range s.reload.Problems() {
		views = append(views, problemView{p.File, p.Line, p.Column, p.Path, p.Message, p.Meant})
	}
	return views
}

func (s *Server) configErrors(c *fiber.Ctx) error { return c.JSON(s.problems()) }

func (s *Server) postReload(c *fiber.Ctx) error {
	err := s.reload.Reload()
	s.audit(c, "reload", err == nil)
	if err != nil {
		return c.Status(422).JSON(fiber.Map{"result": "failure", "errors": s.problems()})
	}
	return c.JSON(fiber.Map{"result": "success"})
}
