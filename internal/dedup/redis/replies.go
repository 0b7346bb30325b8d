package redis

import (
	"fmt"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// errStrange is a reply that none of our scripts gives.
func errStrange(op string, value any) error {
	return fmt.Errorf("dedup: redis: %s: a reply of type %T is not of this script", op, value)
}

// row reads an array reply from its front. The first wrong type makes bad true.
type row struct {
	items []any
	bad   bool
}

func newRow(value any, size int) *row {
	items, ok := value.([]any)
	return &row{items: items, bad: !ok || len(items) != size}
}

func (r *row) next() any {
	if r.bad || len(r.items) == 0 {
		r.bad = true
		return nil
	}
	item := r.items[0]
	r.items = r.items[1:]
	return item
}

func (r *row) int() int64 {
	n, ok := r.next().(int64)
	r.bad = r.bad || !ok
	return n
}

func (r *row) text() string {
	s, ok := r.next().(string)
	r.bad = r.bad || !ok
	return s
}

// fill copies a text of exactly dst's size; an empty one may stand for zeros.
func (r *row) fill(dst []byte, orEmpty bool) {
	s := r.text()
	if len(s) != len(dst) && !(orEmpty && s == "") {
		r.bad = true
		return
	}
	copy(dst, s)
}

// nanos is an instant on our side of the store.
func (r *row) nanos() int64 { return r.int() * int64(time.Millisecond) }

// decodeFound reads what Begin found. Token is also that of a result; proof: the result has to be on replicas before it counts.
func decodeFound(value any) (f record.Found, proof bool, err error) {
	if n, ok := value.(int64); ok && (n == int64(record.Miss) || n == int64(record.Mismatch)) {
		return record.Found{Verdict: record.Verdict(n)}, false, nil
	}
	r := newRow(value, 9)
	f.Verdict = record.Verdict(r.int())
	f.Left = time.Duration(r.int()) * time.Millisecond
	f.Epoch = uint32(r.int())
	r.fill(f.Token[:], true)
	f.Status = int(r.int())
	f.RequestID, f.Location = r.text(), r.text()
	if body := r.text(); f.Verdict == record.Replay {
		f.Answer = []byte(body)
	}
	proof = r.int() == 1
	if r.bad || f.Verdict < record.Acquired || f.Verdict > record.Undetermined {
		return record.Found{}, false, errStrange("begin", value)
	}
	return f, proof, nil
}

func decodeOutcome(value any) (record.Outcome, error) {
	n, ok := value.(int64)
	if outcome := record.Outcome(n); ok && outcome >= record.Stored && outcome <= record.Recreated {
		return outcome, nil
	}
	return 0, errStrange("finish", value)
}

func decodeRecord(value any) (rec record.Record, err error) {
	if items, ok := value.([]any); ok && len(items) == 0 {
		return record.Record{}, nil
	}
	r := newRow(value, 13)
	rec.State = record.State(r.int())
	r.fill(rec.Fingerprint[:], false)
	r.fill(rec.Token[:], false)
	r.fill(rec.Subject[:], false)
	rec.Route = r.text()
	rec.Epoch = uint32(r.int())
	rec.Begun, rec.Lease, rec.AnswerUntil, rec.KeyUntil = r.nanos(), r.nanos(), r.nanos(), r.nanos()
	rec.Status = int(r.int())
	rec.RequestID, rec.Location = r.text(), r.text()
	if r.bad || rec.State > record.Unknown {
		return record.Record{}, errStrange("look", value)
	}
	return rec, nil
}
