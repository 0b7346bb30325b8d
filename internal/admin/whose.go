package admin

import (
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/ratelimit"
)

// question is a limit and whose part of it is meant.
type question struct {
	limit *ratelimit.Limit
	plan  string
	whom  ratelimit.Whose
	key   []byte
	said  []any // for the log
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
	by := issued{given["issuer"], given["api_keys"], given["client_certificates"], given["basic_users"]}
	for _, word := range []string{"issuer", "api_keys", "client_certificates", "basic_users"} {
		delete(given, word)
	}
	for _, word := range slices.Sorted(maps.Keys(given)) {
		value := given[word]
		switch word {
		case "client":
			identity, err := s.identity(by, value)
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

// issued says who vouches for a subject: an issuer, or a list of API keys, of certificates or of users.
type issued struct{ issuer, keys, certificates, users string }

// identity is that of a subject. The same subject of another issuer is somebody else.
func (s *Server) identity(by issued, subject string) (string, error) {
	doc := s.gateway.Snapshot().Document
	found := map[string]bool{}
	for name, cfg := range doc.Issuers {
		if by == (issued{}) || by == (issued{issuer: name}) {
			found[auth.Identity(cfg.Issuer, subject)] = true
		}
	}
	for name := range doc.APIKeys {
		if by == (issued{}) || by == (issued{keys: name}) {
			found[auth.KeyIdentity(name, subject)] = true
		}
	}
	for name := range doc.ClientCertificates {
		if by == (issued{}) || by == (issued{certificates: name}) {
			found[auth.CertificateIdentity(name, subject)] = true
		}
	}
	for name := range doc.BasicUsers {
		if by == (issued{}) || by == (issued{users: name}) {
			found[auth.BasicIdentity(name, subject)] = true
		}
	}
	switch {
	case subject == "": // requests without one
		return "", nil
	case len(found) == 0:
		return "", mistake("nobody vouches for the client: there is no issuer or list " + by.issuer + by.keys + by.certificates + by.users)
	case len(found) > 1:
		return "", mistake("several vouch for clients: add issuer=, a name of issuers, or api_keys=, client_certificates= or basic_users=, a name of theirs")
	}
	for identity := range found {
		return identity, nil
	}
	return "", nil
}

func (s *Server) hasRoute(id string) bool {
	for _, r := range s.gateway.Snapshot().Document.Routes {
		if r.ID == id {
			return true
		}
	}
	return false
}
