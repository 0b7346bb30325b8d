package dedup

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// Executions answers a client who asks for one of his keyed writes by its operation_ref, the last part of the path, without
// sending it again. To anybody else there is no such write.
func Executions(cfg Config, records *Records) pipeline.Handler {
	name, _ := strings.CutPrefix(cfg.Client, "header:")
	if cfg.Client == clientSubject {
		name = ""
	}
	return &question{records, name}
}

type question struct {
	records      *Records
	clientHeader string
}

// Serve implements pipeline.Handler.
func (q *question) Serve(ctx context.Context, x *pipeline.Exchange) error {
	path := string(x.Request.Path())
	e, err := q.records.Execution(ctx, path[strings.LastIndexByte(path, '/')+1:])
	x.Response.Set("Cache-Control", noStore)
	switch {
	case errors.Is(err, ErrNoExecution):
		return pipeline.NotFound
	case err != nil:
		x.Problem = pipeline.Problem{Executed: pipeline.ExecutedUnknown, SameKey: pipeline.Yes, NewKey: pipeline.No, RetryAfter: 1}
		return fmt.Errorf("%w: %w", pipeline.StoreUnavailable, err)
	}
	var named []byte
	if q.clientHeader != "" {
		named = single(x.Request, q.clientHeader)
	}
	if !q.records.Owned(e, x.Client.Identity, named) {
		return pipeline.NotFound
	}
	if e.State == record.InFlight {
		x.Response.Set("Retry-After", strconv.AppendInt(nil, int64(min(seconds(time.Until(e.LeaseUntil)), 5)), 10))
	}
	x.Response.SetStatus(200)
	x.Response.Set("Content-Type", []byte("application/json"))
	x.Response.SetBody(e.json())
	return nil
}

// Executed is what is known of the effect.
func (e Execution) Executed() pipeline.Executed {
	switch e.State {
	case record.InFlight:
		return pipeline.ExecutedInProgress
	case record.Completed, record.Sealed:
		return pipeline.ExecutedYes
	}
	return pipeline.ExecutedUnknown
}

func (e Execution) json() []byte {
	b := append([]byte(nil), `{"operation_ref":"`...)
	b = append(append(b, e.Ref...), `","state":"`...)
	b = append(append(b, e.State.String()...), `","executed":"`...)
	b = append(append(b, e.Executed().String()...), `","safe_same_key_retry":true,"safe_new_key":false,"attempt":`...)
	b = strconv.AppendInt(b, int64(e.Attempt), 10)
	if e.Status != 0 {
		b = strconv.AppendInt(append(b, `,"original_status":`...), int64(e.Status), 10)
	}
	if e.Location != "" {
		b = pipeline.AppendJSONString(append(b, `,"location":`...), e.Location)
	}
	if e.RequestID != "" {
		b = pipeline.AppendJSONString(append(b, `,"original_request_id":`...), e.RequestID)
	}
	b = stamp(b, "first_seen", e.FirstSeen)
	b = stamp(b, "answer_until", e.AnswerUntil)
	b = stamp(b, "key_until", e.KeyUntil)
	return append(b, '}', '\n')
}

func stamp(b []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":"`...)
	return append(t.AppendFormat(b, time.RFC3339), '"')
}
