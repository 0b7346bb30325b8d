package admin

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/oncegate/oncegate/internal/observe"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// The page has no script and takes nothing from elsewhere: its policy allows this one stylesheet, by its hash.
var (
	//go:embed console.html
	consoleHTML string
	//go:embed console.css
	consoleCSS string

	consolePage   = template.Must(template.New("console").Funcs(template.FuncMap{"words": words, "time": clock}).Parse(consoleHTML))
	consolePolicy = "default-src 'none'; style-src 'sha256-" + hashOf(consoleCSS) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

const basicChallenge = `Basic realm="oncegate-admin", charset="UTF-8"`

// consoleView is what the page shows: what the admin API answers, and nothing that it redacts.
type consoleView struct {
	Style     template.CSS
	Build     observe.BuildInfo
	Now       time.Time
	Reload    time.Time // zero: none since the start
	Failed    bool
	Problems  []problemView
	Changes   []changeView
	Routes    []routeView
	Upstreams []upstreamView
	Limits    []limitView
}

// consoleHead goes first, so that refusals have it, too.
func (s *Server) consoleHead(c *fiber.Ctx) error {
	c.Set(fiber.HeaderContentSecurityPolicy, consolePolicy)
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	c.Set(fiber.HeaderReferrerPolicy, "no-referrer")
	c.Set("Cross-Origin-Resource-Policy", "same-origin")
	c.Set(fiber.HeaderCacheControl, "no-store")
	return c.Next()
}

// consoleToken takes the token as the API does, or as a browser can send it: as the password of Basic, with any name. The API does
// not, because a browser sends a password by itself, also on behalf of a foreign page; here that changes nothing.
func (s *Server) consoleToken(c *fiber.Ctx) error {
	scheme, got, _ := strings.Cut(c.Get("Authorization"), " ")
	sent := strings.EqualFold(scheme, "bearer")
	if strings.EqualFold(scheme, "basic") {
		plain, err := base64.StdEncoding.DecodeString(got)
		var colon bool
		_, got, colon = strings.Cut(string(plain), ":")
		sent = err == nil && colon
	}
	if !s.admits(sent, got) {
		c.Response().Header.Add(fiber.HeaderWWWAuthenticate, bearerChallenge)
		c.Response().Header.Add(fiber.HeaderWWWAuthenticate, basicChallenge)
		return problem(c, pipeline.Unauthenticated)
	}
	return c.Next()
}

// console shows the gateway as it is now.
func (s *Server) console(c *fiber.Ctx) error {
	v := consoleView{
		Style: template.CSS(consoleCSS), Build: s.gateway.State().Metrics.Build(), Now: time.Now(),
		Reload: s.reload.When(), Failed: s.reload.Last() != nil, Problems: s.problems(), Changes: s.changes(), Upstreams: s.upstreamViews(),
	}
	var err error
	if v.Routes, err = s.routeViews(); err != nil {
		return err
	}
	if v.Limits, err = s.limitViews(); err != nil {
		return err
	}
	var page bytes.Buffer
	if err := consolePage.Execute(&page, v); err != nil {
		return fmt.Errorf("console: %w", err)
	}
	c.Set(fiber.HeaderContentType, fiber.MIMETextHTMLCharsetUTF8)
	return c.Send(page.Bytes())
}

// words writes a value of the document on one line, much as YAML would. Escaping is the template's.
func words(v any) string {
	switch v := v.(type) {
	case map[string]any:
		parts := make([]string, 0, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, key+": "+nested(v[key]))
		}
		return strings.Join(parts, ", ")
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = nested(v[i])
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return fmt.Sprint(v)
}

func nested(v any) string {
	if _, ok := v.(map[string]any); ok {
		return "{ " + words(v) + " }"
	}
	return words(v)
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}
