package admin

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

const (
	mostOpen  = 100              // executions in one list
	storeTime = 20 * time.Second // for a call that goes through many records
)

// executionView is one element of GET executions. Where its owner can ask for it too (GET /-/executions/), the members have the
// same names.
type executionView struct {
	ID          string     `json:"id"` // as elements of lists have; the same as Ref
	Ref         string     `json:"operation_ref"`
	State       string     `json:"state"` // absent: settled as not executed, the key is free
	Executed    string     `json:"executed"`
	Route       string     `json:"route,omitempty"`
	Attempt     int        `json:"attempt,omitempty"` // dispatches
	Status      int        `json:"original_status,omitempty"`
	Location    string     `json:"location,omitempty"`
	RequestID   string     `json:"original_request_id,omitempty"`
	FirstSeen   *time.Time `json:"first_seen,omitempty"`
	LeaseUntil  *time.Time `json:"lease_until,omitempty"`
	AnswerUntil *time.Time `json:"answer_until,omitempty"`
	KeyUntil    *time.Time `json:"key_until,omitempty"`
}

func viewOf(e dedup.Execution) executionView {
	return executionView{
		ID: e.Ref, Ref: e.Ref, State: e.State.String(), Executed: executed(e).String(), Route: e.Route, Attempt: e.Attempt, Status: e.Status, Location: e.Location,
		RequestID: e.RequestID, FirstSeen: instant(e.FirstSeen), LeaseUntil: instant(e.LeaseUntil), AnswerUntil: instant(e.AnswerUntil), KeyUntil: instant(e.KeyUntil),
	}
}

// executed is what is known of the effect; of a record that was settled away it is known that there was none.
func executed(e dedup.Execution) pipeline.Executed {
	if e.State == record.Absent {
		return pipeline.ExecutedNo
	}
	return e.Executed()
}

func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.Truncate(time.Second)
	return &t
}

// executions lists the writes of a client's key, or without parameters those that are open.
func (s *Server) executions(c *fiber.Ctx) error {
	scope, client, key, asked, ok := lookUp(c)
	if !ok {
		return problem(c, pipeline.BadRequest)
	}
	c.Set("Cache-Control", "no-store")
	records, views := s.gateway.State().Records(), []executionView{}
	if records == nil {
		return c.JSON(views)
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	var found []dedup.Execution
	var err error
	if asked {
		found, err = s.find(ctx, records, scope, client, key)
	} else {
		found, err = records.Open(ctx, mostOpen)
	}
	if err != nil {
		return s.storeDown(c, err)
	}
	for _, e := range found {
		views = append(views, viewOf(e))
	}
	return c.JSON(views)
}

// lookUp reads the three parameters: all of them, once each, or none at all. The key may be quoted, as it is in a request.
func lookUp(c *fiber.Ctx) (scope, client, key string, asked, ok bool) {
	got := map[string]string{}
	twice := false
	for name, value := range c.Context().QueryArgs().All() {
		_, known := got[string(name)]
		twice = twice || known
		got[string(name)] = string(value)
	}
	if len(got) == 0 {
		return "", "", "", false, true
	}
	plain, fine := wire.ParseKey([]byte(got["key"]))
	scope, client, key = got["scope"], got["client"], string(plain)
	return scope, client, key, true, fine && !twice && len(got) == 3 && scope != "" && client != ""
}

// find tries everybody whom the name can mean: a subject of each issuer, a name of each list, and a client that a header names.
func (s *Server) find(ctx context.Context, records *dedup.Records, scope, client, key string) (found []dedup.Execution, err error) {
	for _, who := range s.clients(client) {
		e, err := records.Find(ctx, who.identity, who.named, scope, key)
		if errors.Is(err, dedup.ErrNoExecution) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, e)
	}
	return found, nil
}

// client is one whom a name can mean: by his identity, or by the header that names him.
type client struct{ identity, named string }

func (s *Server) clients(name string) []client {
	all, seen := []client{{named: name}}, map[string]bool{}
	issuers := s.gateway.Snapshot().Document.Issuers
	for _, id := range slices.Sorted(maps.Keys(issuers)) {
		if identity := auth.Identity(issuers[id].Issuer, name); !seen[identity] {
			seen[identity] = true
			all = append(all, client{identity: identity})
		}
	}
	for _, list := range slices.Sorted(maps.Keys(s.gateway.Snapshot().Document.APIKeys)) {
		all = append(all, client{identity: auth.KeyIdentity(list, name)})
	}
	for _, list := range slices.Sorted(maps.Keys(s.gateway.Snapshot().Document.ClientCertificates)) {
		all = append(all, client{identity: auth.CertificateIdentity(list, name)})
	}
	for _, list := range slices.Sorted(maps.Keys(s.gateway.Snapshot().Document.BasicUsers)) {
		all = append(all, client{identity: auth.BasicIdentity(list, name)})
	}
	return all
}

// storeDown says that the store can't be asked now. Its words go to the log only.
func (s *Server) storeDown(c *fiber.Ctx, err error) error {
	s.logger.Error("the store of keyed writes does not answer the admin port", "error", err.Error())
	c.Set("Retry-After", "1")
	return problem(c, pipeline.StoreUnavailable)
}
