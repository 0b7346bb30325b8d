package admin

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/url"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/gateway"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// receipt is the answer to DELETE subjects/{sub}. Subjects are personal data, and a hash of one can be guessed: the log has the
// receipt's id and the counts, and only the receipt itself says whom it is about.
type receipt struct {
	ID       string    `json:"receipt"`
	Subject  string    `json:"subject"`
	Records  int       `json:"records"`   // whose traces are gone; their keys stay, so that nothing runs twice
	Answers  int       `json:"answers"`   // of these, the answers that were kept
	InFlight int       `json:"in_flight"` // that still run: what they end with is stored later, so erase again
	At       time.Time `json:"at"`
}

// eraseSubject erases what is stored for a person, whoever issued his tokens, and for the client whom a header names like him.
func (s *Server) eraseSubject(c *fiber.Ctx) error {
	subject, err := url.PathUnescape(c.Params("sub"))
	if err != nil || subject == "" {
		return problem(c, pipeline.BadRequest)
	}
	did, err := s.erase(subject)
	r := receipt{ID: receiptID(), Subject: subject, Records: did.Records, Answers: did.Answers, InFlight: did.InFlight, At: time.Now().UTC().Truncate(time.Second)}
	s.audit(c, "erase subject", err == nil, "receipt", r.ID, "records", r.Records, "answers", r.Answers, "in_flight", r.InFlight)
	if err != nil {
		return s.storeDown(c, err)
	}
	c.Set("Cache-Control", "no-store")
	return c.JSON(r)
}

// errShut: records of an earlier document may lie in a store that nobody opened.
var errShut = errors.New("no route has dedup, so the store is not open, and it may hold records of an earlier document")

// erase adds up what went. After an error some may be gone already; to repeat it is harmless.
func (s *Server) erase(subject string) (did record.Erased, err error) {
	records := s.gateway.State().Records()
	if records == nil {
		if gateway.MayHoldRecords(s.gateway.Snapshot().Document.State) {
			err = errShut
		}
		return did, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	for _, who := range s.clients(subject) {
		part, err := records.Erase(ctx, who.identity, []byte(who.named))
		did.Records, did.Answers, did.InFlight = did.Records+part.Records, did.Answers+part.Answers, did.InFlight+part.InFlight
		if err != nil {
			return did, err
		}
	}
	return did, nil
}

func receiptID() string {
	var id [16]byte
	rand.Read(id[:])
	return base64.RawURLEncoding.EncodeToString(id[:])
}
