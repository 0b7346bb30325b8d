package embedded

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/failpoint"
)

// The folder's keys: one letter, then
//
//	r key        the record, without its answer
//	a until key  the answer, in the order in which answers end: to drop what is over is to delete one range, and what was
//	             written at one time lies together, so that hardly anything of it is rewritten until then
//	x due key    an empty entry: when a sweep looks whether the record is over; instants are nanoseconds, big endian
//	f key        an empty entry per open record: in flight or unknown
//	m name       the folder's own: format, secret
const (
	recordPrefix = 'r'
	answerPrefix = 'a'
	duePrefix    = 'x'
	openPrefix   = 'f'
	metaPrefix   = 'm'
)

func recordKey(key record.Key) []byte { return append([]byte{recordPrefix}, key[:]...) }
func openKey(key record.Key) []byte   { return append([]byte{openPrefix}, key[:]...) }
func answerKey(until int64, key record.Key) []byte {
	return append(point(answerPrefix, until), key[:]...)
}
func dueKey(due int64, key record.Key) []byte { return append(point(duePrefix, due), key[:]...) }
func metaKey(name string) []byte              { return append([]byte{metaPrefix}, name...) }

// point begins the entries of an instant.
func point(prefix byte, instant int64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 41), prefix), uint64(max(instant, 0)))
}

// slack is how much later than its record is over a due entry may lie, so that finishing need not move the claim's entry.
const slack = 10 * time.Minute

// fill adds to a batch what makes r of old. Each record has a due entry; one that is early is moved by the sweep that meets it.
func (s *Store) fill(b *pebble.Batch, key record.Key, old, r record.Record) error {
	was, is := old.State != record.Absent, r.State != record.Absent
	err := s.fillAnswer(b, key, old, r)
	if is {
		r.Answer = nil
		err = errors.Join(err, b.Set(recordKey(key), r.Append(make([]byte, 0, r.Size())), nil))
	} else {
		err = errors.Join(err, b.Delete(recordKey(key), nil))
	}
	if is && (!was || old.KeyUntil-r.KeyUntil > int64(slack)) {
		err = errors.Join(err, b.Set(dueKey(r.KeyUntil, key), nil, nil))
	}
	switch opened, open := old.Open(), r.Open(); {
	case open && !opened:
		err = errors.Join(err, b.Set(openKey(key), nil, nil))
	case opened && !open: // it was set once since it was last deleted: both vanish when they meet
		err = errors.Join(err, b.SingleDelete(openKey(key), nil))
	}
	return err
}

func (s *Store) fillAnswer(b *pebble.Batch, key record.Key, old, r record.Record) error {
	had, has := old.State == record.Completed, r.State == record.Completed
	switch {
	case has && (!had || len(r.Answer) > 0):
		return b.Set(answerKey(r.AnswerUntil, key), r.Answer, nil)
	case had && !has:
		return b.Delete(answerKey(old.AnswerUntil, key), nil)
	}
	return nil
}

// format 2 knows records of version 2, keeps answers apart, and its index of open records holds the unknown ones too. A folder
// of format 1 becomes one of format 2; the answers in its records stay there until they are over.
const (
	format      = "2"
	firstFormat = "1"
)

// takeOver checks the folder's format, reads or makes its secret, and settles what an earlier run left.
func (s *Store) takeOver() error {
	got, err := s.meta("format", func() []byte { return []byte(format) })
	if err != nil {
		return err
	}
	switch string(got) {
	case format:
	case firstFormat:
		if err := s.upgrade(); err != nil {
			return err
		}
	default:
		return fmt.Errorf("format %q is not known to this version, which writes %q", got, format)
	}
	secret, err := s.meta("secret", func() []byte {
		var b [32]byte
		rand.Read(b[:])
		return b[:]
	})
	if err != nil {
		return err
	}
	if copy(s.secret[:], secret) != len(s.secret) || len(secret) != len(s.secret) {
		return errors.New("its secret is damaged")
	}
	n, err := s.orphan()
	if n > 0 {
		s.opts.Log.Warn("keyed writes of an earlier run have an unknown outcome", "records", n)
	}
	return err
}

// meta reads a value of the folder itself, or makes it.
func (s *Store) meta(name string, fresh func() []byte) ([]byte, error) {
	key := metaKey(name)
	value, err := s.get(key)
	if err != nil || value != nil {
		return value, err
	}
	value = fresh()
	return value, s.db.Set(key, value, pebble.Sync)
}

// upgrade enters the unknown records of a folder of format 1 into the index of open ones, and then names the new format: a
// crash in between has the next start do it again.
func (s *Store) upgrade() error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{recordPrefix}, UpperBound: []byte{recordPrefix + 1}})
	if err != nil {
		return err
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		key := it.Key()
		if r, broken := record.Decode(it.Value()); broken != nil || !r.Open() || len(key) != 33 {
			continue // what is broken stays refused
		}
		entry := openKey(record.Key(key[1:]))
		err = errors.Join(s.db.Delete(entry, pebble.NoSync), s.db.Set(entry, nil, pebble.NoSync)) // it may be there: see fill
	}
	if err := errors.Join(err, it.Close()); err != nil {
		return err
	}
	return s.db.Set(metaKey("format"), []byte(format), pebble.Sync)
}

// orphan marks what an earlier run left in flight as unknown: its process is gone, and nobody else knows the outcome.
func (s *Store) orphan() (int, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{openPrefix}, UpperBound: []byte{openPrefix + 1}})
	if err != nil {
		return 0, err
	}
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		if len(it.Key()) != 33 {
			continue
		}
		key := record.Key(it.Key()[1:])
		r, err := s.read(key)
		if errors.Is(err, record.ErrCorrupt) { // its key stays refused; the others must not be
			s.opts.Log.Error("a dedup record can't be read", "error", err)
			continue
		}
		if err != nil {
			return n, errors.Join(err, it.Close())
		}
		if r.State != record.InFlight {
			continue
		}
		if err := s.write(key, r, r.Orphan(), pebble.NoSync); err != nil {
			return n, errors.Join(err, it.Close())
		}
		n++
		failpoint.Hit(failpoint.BootSweep)
	}
	if err := it.Close(); err != nil || n == 0 {
		return n, err
	}
	return n, s.db.LogData(nil, pebble.Sync) // one sync for all of them
}
