package redis

import (
	"context"
	"fmt"

	goredis "github.com/redis/go-redis/v9"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

const (
	openPage  = 1000
	scanPage  = 500
	subjectAt = 1 + 1 + 32 + 16 // in a packed record, see lua/record.lua
)

// Open implements dedup.Store. It walks the buckets' lists of open records, and takes out of them what is gone.
func (s *Store) Open(ctx context.Context, f func(record.Key, record.Record) bool) error {
	for b := range buckets {
		keys, err := s.openKeys(ctx, b)
		if err != nil {
			return err
		}
		for _, key := range keys {
			r, err := s.look(ctx, key, true)
			if err != nil {
				return err
			}
			if r.Open() && !f(key, r) {
				return nil
			}
		}
	}
	return nil
}

func (s *Store) openKeys(ctx context.Context, bucket int) (keys []record.Key, err error) {
	for {
		page, err := s.openSome(ctx, bucket, len(keys))
		keys = append(keys, page...)
		if err != nil || len(page) < openPage {
			return keys, err
		}
	}
}

func (s *Store) openSome(ctx context.Context, bucket, from int) ([]record.Key, error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	o := s.op(s.scripts.open, record.Key{byte(bucket >> 2), byte(bucket << 6)}, from, from+openPage-1)
	o.wait = false
	r, err := s.call(ctx, o)
	if err != nil {
		return nil, err
	}
	members, ok := r.value.([]any)
	if !ok {
		return nil, errStrange("open", r.value)
	}
	keys := make([]record.Key, 0, len(members))
	for _, m := range members {
		if raw, ok := m.(string); ok && len(raw) == len(record.Key{}) {
			keys = append(keys, record.Key([]byte(raw)))
		}
	}
	return keys, nil
}

// Erase implements dedup.Store. It walks all names of all primaries: erasing is rare, and an index by subject would cost every
// write. Records that move between primaries meanwhile may be missed.
func (s *Store) Erase(ctx context.Context, subject record.Subject) (record.Erased, error) {
	var did record.Erased
	if err := s.ready(); err != nil {
		return did, err
	}
	s.guard.recent.erase(subject)
	primaries := s.fleet.primaries()
	if len(primaries) == 0 {
		return did, refuse("erase: %w", errNoPrimary)
	}
	counted := map[record.Key]bool{} // SCAN may give a name twice
	for _, n := range primaries {
		if err := s.eraseOn(ctx, n, subject, counted, &did); err != nil {
			return did, err
		}
	}
	return did, nil
}

func (s *Store) eraseOn(ctx context.Context, n *node, subject record.Subject, counted map[record.Key]bool, did *record.Erased) error {
	for cursor := uint64(0); ; {
		found, next, err := n.client.Scan(ctx, cursor, s.names.prefix+":{*}:r:*", scanPage).Result()
		if err != nil {
			return fmt.Errorf("dedup: redis: erase: %w", err)
		}
		for _, key := range s.ofSubject(ctx, n, found, subject) {
			if counted[key] {
				continue
			}
			state, err := s.eraseOne(ctx, key, subject)
			if err != nil {
				return err
			}
			if state != record.Absent {
				counted[key] = true
				did.Count(record.Record{State: state})
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// ofSubject picks the records of a subject. Where that can't be read, the step itself decides.
func (s *Store) ofSubject(ctx context.Context, n *node, found []string, subject record.Subject) []record.Key {
	pipe := n.client.Pipeline()
	owners := make([]*goredis.StringCmd, len(found))
	for i, name := range found {
		owners[i] = pipe.GetRange(ctx, name, subjectAt, subjectAt+int64(len(subject))-1)
	}
	_, failure := pipe.Exec(ctx)
	unread := failure != nil // go-redis may then leave commands without their error
	var keys []record.Key
	for i, name := range found {
		owner, err := owners[i].Result()
		if key, ok := s.names.recordKey(name); ok && (unread || err == nil && owner == string(subject[:])) {
			keys = append(keys, key)
		}
	}
	return keys
}

func (s *Store) eraseOne(ctx context.Context, key record.Key, subject record.Subject) (record.State, error) {
	r, err := s.call(ctx, s.op(s.scripts.erase, key, subject[:]))
	if err != nil {
		return record.Absent, err
	}
	n, ok := r.value.(int64)
	switch {
	case !ok || n < 0 || n > int64(record.Unknown):
		return record.Absent, errStrange("erase", r.value)
	case n > 0 && r.short():
		return record.Absent, fmt.Errorf("dedup: redis: erase: %w", errShort)
	}
	return record.State(n), nil
}
