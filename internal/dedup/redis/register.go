package redis

import (
	"context"
	"fmt"
	"slices"

	goredis "github.com/redis/go-redis/v9"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

const (
	openPage  = 1000
	scanPage  = 500
	subjectAt = 1 + 1 + 32 + 16 // in a packed record, see lua/record.lua
)

// Open implements dedup.Store. It walks the buckets' lists of open records, server by server, and takes out of them what is gone.
func (s *Store) Open(ctx context.Context, f func(record.Key, record.Record) bool) error {
	for some := range slices.Chunk(s.fleet.byServer(), batchMost) {
		keys, err := s.openKeys(ctx, some...)
		if err != nil {
			return err
		}
		for page := range slices.Chunk(keys, batchMost) {
			records, err := s.lookAll(ctx, page)
			if err != nil {
				return err
			}
			for i, r := range records {
				if r.Open() && !f(page[i], r) {
					return nil
				}
			}
		}
	}
	return nil
}

// openKeys reads the lists of some buckets. The next page of a long one is another round trip.
func (s *Store) openKeys(ctx context.Context, which ...int) (all []record.Key, err error) {
	for from := 0; len(which) > 0; from += openPage {
		ops := make([]*op, len(which))
		for i, b := range which {
			ops[i] = s.op(s.scripts.open, record.Key{byte(b >> 2), byte(b << 6)}, from, from+openPage-1)
		}
		values, err := s.batch(ctx, ops)
		if err != nil {
			return nil, err
		}
		var long []int
		for i, value := range values {
			members, ok := value.([]any)
			if !ok {
				return nil, errStrange("open", value)
			}
			all = appendKeys(all, members)
			if len(members) == openPage {
				long = append(long, which[i])
			}
		}
		which = long
	}
	return all, nil
}

func appendKeys(keys []record.Key, members []any) []record.Key {
	for _, m := range members {
		if raw, ok := m.(string); ok && len(raw) == len(record.Key{}) {
			keys = append(keys, record.Key([]byte(raw)))
		}
	}
	return keys
}

// lookAll gives records as they count now, and takes out of the open ones what is not open any more.
func (s *Store) lookAll(ctx context.Context, keys []record.Key) ([]record.Record, error) {
	ops := make([]*op, len(keys))
	for i, key := range keys {
		ops[i] = s.op(s.scripts.look, key, 1)
	}
	values, err := s.batch(ctx, ops)
	if err != nil {
		return nil, err
	}
	records := make([]record.Record, len(values))
	for i, value := range values {
		if records[i], err = decodeRecord(value); err != nil {
			return nil, err
		}
	}
	return records, nil
}

// Erase implements dedup.Store. It first tells all gateways to forget what they remember of the subject. Then it walks all names
// of all primaries: erasing is rare, and an index by subject would cost every write. Records that move between primaries
// meanwhile may be missed.
func (s *Store) Erase(ctx context.Context, subject record.Subject) (record.Erased, error) {
	var did record.Erased
	if err := s.ready(); err != nil {
		return did, err
	}
	if err := s.announce(ctx, subject); err != nil {
		return did, err
	}
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
