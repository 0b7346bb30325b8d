package embedded

import (
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/failpoint"
)

// The folder's keys: one letter, then
//
//	r key        the record
//	x due key    an empty entry per record: when a sweep has something to do with it, nanoseconds, big endian
//	f key        an empty entry per open record: in flight or unknown
//	m name       the folder's own: format, secret
const (
	recordPrefix = 'r'
	duePrefix    = 'x'
	openPrefix   = 'f'
	metaPrefix   = 'm'
)

func recordKey(key record.Key) []byte         { return append([]byte{recordPrefix}, key[:]...) }
func openKey(key record.Key) []byte           { return append([]byte{openPrefix}, key[:]...) }
func dueKey(due int64, key record.Key) []byte { return append(duePoint(due), key[:]...) }
func metaKey(name string) []byte              { return append([]byte{metaPrefix}, name...) }

// format 2 knows records of version 2, and its index of open records holds the unknown ones too. A folder of format 1 is read
// and becomes one of format 2.
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
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		made := fresh()
		return made, s.db.Set(key, made, pebble.Sync)
	}
	if err != nil {
		return nil, err
	}
	own := append([]byte(nil), value...)
	return own, closer.Close()
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
		err = s.db.Set(openKey(record.Key(key[1:])), nil, pebble.NoSync)
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
