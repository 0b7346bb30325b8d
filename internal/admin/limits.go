package admin

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/oncegate/oncegate/internal/auth"
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

// question is a limit and whose part of it is meant.
type question struct {
	limit *ratelimit.Limit
	plan  string
	whom  ratelimit.Whose
	key   []byte
	said  []any // for the log
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

var errNoLimit = errors.New("no such limit")

// mistake is a wrong question, in words for the operator.
type mistake string

func (m mistake) Error() string { return string(m) }

func complain(c *fiber.Ctx, err error) error {
	if errors.Is(err, errNoLimit) {
		return problem(c, pipeline.NotFound)
	}
	return problemOf(c, 400, "bad-request", "Bad request", err.Error())
}

// question reads the limit of the path, the plan and whose bucket is meant.
func (s *Server) question(c *fiber.Ctx) (q question, err error) {
	name, err := url.PathUnescape(c.Params("name"))
	cfg, known := s.gateway.Snapshot().Document.RateLimits[name]
	if err != nil || !known {
		return q, errNoLimit
	}
	q.limit, q.whom = ratelimit.Compile(strings.Clone(name), cfg), ratelimit.Whose{}
	given := map[string]string{}
	for k, v := range c.Context().QueryArgs().All() {
		word := string(k)
		if _, twice := given[word]; twice {
			return q, mistake(word + " stands twice")
		}
		given[word] = string(v)
	}
	if err := s.choosePlan(&q, given); err != nil {
		return q, err
	}
	if err := s.identify(&q, given); err != nil {
		return q, err
	}
	q.key, err = q.limit.AppendKeyOf(nil, q.whom)
	return q, err
}

func (s *Server) choosePlan(q *question, given map[string]string) error {
	plan, asked := given["plan"]
	if !asked {
		return nil
	}
	delete(given, "plan")
	variant := q.limit.Plans()[plan]
	if variant == nil {
		return mistake("the limit has no plan " + plan)
	}
	q.limit, q.plan = variant, plan
	return nil
}

// identify turns the parameters into the words of the limit. What a header holds may be a secret: the log has only its name.
func (s *Server) identify(q *question, given map[string]string) error {
	issuer, named := given["issuer"]
	delete(given, "issuer")
	for _, word := range slices.Sorted(maps.Keys(given)) {
		value := given[word]
		switch word {
		case "client":
			identity, err := s.identity(issuer, named, value)
			if err != nil {
				return err
			}
			q.said = append(q.said, word, value)
			value = identity
		case "header", "claim":
			whole, err := onlyPart(q.limit, word)
			if err != nil {
				return err
			}
			q.said = append(q.said, word, strings.TrimPrefix(whole, word+":"))
			word = whole
		case "route":
			if !s.hasRoute(value) {
				return mistake("there is no route " + value)
			}
			q.said = append(q.said, word, value)
		default:
			kind, name, part := strings.Cut(word, ":")
			if q.said = append(q.said, word, value); part {
				q.said = append(q.said[:len(q.said)-2], kind, name)
			}
		}
		if _, twice := q.whom[word]; twice {
			return mistake(word + " stands twice")
		}
		q.whom[word] = value
	}
	return nil
}

// onlyPart is the limit's one part of a kind: of several, each must be written with its name.
func onlyPart(l *ratelimit.Limit, kind string) (whole string, err error) {
	for _, word := range l.By() {
		if !strings.HasPrefix(word, kind+":") {
			continue
		}
		if whole != "" {
			return "", mistake("the limit counts by several: write " + whole + "= and " + word + "=")
		}
		whole = word
	}
	if whole == "" {
		return "", mistake("the limit does not count by a " + kind)
	}
	return whole, nil
}

// identity is that of a subject. The same subject of another issuer is somebody else.
func (s *Server) identity(issuer string, named bool, subject string) (string, error) {
	issuers := s.gateway.Snapshot().Document.Issuers
	cfg, known := issuers[issuer]
	switch {
	case subject == "":
		return "", nil
	case named && !known:
		return "", mistake("there is no issuer " + issuer)
	case named:
		return auth.Identity(cfg.Issuer, subject), nil
	}
	found := map[string]bool{}
	identity := ""
	for _, cfg := range issuers {
		identity = auth.Identity(cfg.Issuer, subject)
		found[identity] = true
	}
	if len(found) != 1 {
		return "", mistake("the document has several issuers or none: add issuer=, a name of issuers")
	}
	return identity, nil
}

func (s *Server) hasRoute(id string) bool {
	for _, r := range s.gateway.Snapshot().Document.Routes {
		if r.ID == id {
			return true
		}
	}
	return false
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
