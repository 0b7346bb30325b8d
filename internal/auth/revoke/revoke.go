// Package revoke knows which tokens are void before they expire: by token id (jti), by session (sid), and by subject, all
// of whose tokens that were issued before a moment are void.
//
// It promises that asking takes no lock and allocates nothing, that an entry stays until no token it is about can be alive,
// and that the number of entries has a bound: past it a revocation is refused with ErrFull, never dropped in silence. It
// does not verify tokens. With a Store, a Follower brings what one node revokes to the others; when the Store can't be
// reached for longer than the grace, Known is false, and callers have to refuse.
package revoke

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// Errors of Revoke, and of a Store.
var (
	ErrGone    = errors.New("the store of revocations is not the one that it was")
	ErrFull    = errors.New("as many revocations are kept as there is room for")
	ErrUnclear = errors.New("a revocation names an issuer and exactly one of jti, sid and sub")
)

// Entry is one revocation. Exactly one of ID, Session and Subject is set.
type Entry struct {
	Issuer  string    // the exact iss
	ID      string    // jti
	Session string    // sid
	Subject string    // sub
	Before  time.Time // with Subject: tokens issued before it are void
	Until   time.Time // when no token that the entry is about can be alive
}

// Store shares revocations among nodes.
type Store interface {
	// Add keeps an entry until its Until; it returns when the other nodes can read it. To add what is there already, or
	// less, changes nothing.
	Add(ctx context.Context, e Entry) error
	// Since gives a page of what was added after a cursor, "" for everything, and the next cursor; an empty page is the
	// last. The error is ErrGone when the store does not know the cursor, since it lost what it had.
	Since(ctx context.Context, cursor string) (added []Entry, next string, err error)
}

// Token is what of a verified token can be revoked. Empty strings match nothing.
type Token struct {
	Issuer, ID, Session, Subject string
	Issued                       float64 // iat in Unix seconds; 0: not said, which is before any moment
}

// Config bounds a List.
type Config struct {
	Max   int           // entries; 0: 100,000
	Grace time.Duration // how long a Store may be silent; 0: there is no Store, and the list is always known
}

const (
	shards  = 256
	usually = 100_000
)

type kind uint8

const (
	byID kind = iota
	bySession
	bySubject
)

type name struct {
	kind          kind
	issuer, value string
}

type mark struct{ before, until float64 } // Unix seconds; before is for subjects

// List is the revocations that one node knows, as immutable parts: a writer replaces the part that it changes.
type List struct {
	parts [shards]atomic.Pointer[map[name]mark]
	count atomic.Int64 // entries, some of them over
	heard atomic.Int64 // when the Store last answered, Unix nanoseconds
	mu    sync.Mutex   // of writers
	seed  maphash.Seed
	max   int64
	grace time.Duration
}

// New makes an empty list. With a grace, it is not known before the first Merge.
func New(cfg Config) *List {
	if cfg.Max == 0 {
		cfg.Max = usually
	}
	return &List{seed: maphash.MakeSeed(), max: int64(cfg.Max), grace: cfg.Grace}
}

// Known is false when the Store has been silent for longer than the grace: then nobody can say what was revoked.
func (l *List) Known(now time.Time) bool {
	return l.grace == 0 || now.UnixNano()-l.heard.Load() <= int64(l.grace)
}

// Len is the number of entries, for metrics. Some may be over.
func (l *List) Len() int { return int(l.count.Load()) }

// Void reports whether a token was revoked.
func (l *List) Void(t *Token) bool {
	if l.count.Load() == 0 {
		return false
	}
	if t.ID != "" {
		if _, there := l.find(name{byID, t.Issuer, t.ID}); there {
			return true
		}
	}
	if t.Session != "" {
		if _, there := l.find(name{bySession, t.Issuer, t.Session}); there {
			return true
		}
	}
	if t.Subject == "" {
		return false
	}
	m, there := l.find(name{bySubject, t.Issuer, t.Subject})
	return there && t.Issued < m.before
}

func (l *List) find(n name) (mark, bool) {
	part := l.part(n.value).Load()
	if part == nil {
		return mark{}, false
	}
	m, there := (*part)[n]
	return m, there
}

func (l *List) part(value string) *atomic.Pointer[map[name]mark] {
	return &l.parts[maphash.String(l.seed, value)%shards]
}

// Revoke notes an entry at once. What is over by now needs none. A later revocation of a subject moves its moment forward,
// never back.
func (l *List) Revoke(e Entry, now time.Time) error {
	n, err := e.name()
	if err != nil {
		return err
	}
	if !e.Until.After(now) {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.put(n, mark{unix(e.Before), unix(e.Until)}, now)
}

// Merge takes what a Store says, and notes that it answered; a full list was not told everything, and is not known.
func (l *List) Merge(added []Entry, now time.Time) error {
	for _, e := range added {
		if err := l.Revoke(e, now); err != nil {
			return err
		}
	}
	l.heard.Store(now.UnixNano())
	return nil
}

func (e *Entry) name() (name, error) {
	var n name
	given := 0
	for k, value := range [...]string{byID: e.ID, bySession: e.Session, bySubject: e.Subject} {
		if value != "" {
			n = name{kind(k), e.Issuer, value}
			given++
		}
	}
	if given != 1 || e.Issuer == "" {
		return name{}, ErrUnclear
	}
	return n, nil
}

// put replaces the part that the name belongs to by one with the mark and without what is over.
func (l *List) put(n name, m mark, now time.Time) error {
	if l.count.Load() >= l.max {
		if l.sweep(now); l.count.Load() >= l.max {
			if _, there := l.find(n); !there {
				return ErrFull
			}
		}
	}
	part := l.part(n.value)
	if old, there := l.find(n); there && m.before <= old.before && m.until <= old.until {
		return nil // a Store tells again and again what is known
	}
	next, dropped := alive(part.Load(), now)
	if old, there := next[n]; there {
		m = mark{max(m.before, old.before), max(m.until, old.until)}
	} else {
		dropped--
	}
	next[n] = m
	part.Store(&next)
	l.count.Add(-dropped)
	return nil
}

// sweep drops what is over everywhere.
func (l *List) sweep(now time.Time) {
	for i := range l.parts {
		if next, dropped := alive(l.parts[i].Load(), now); dropped > 0 {
			l.parts[i].Store(&next)
			l.count.Add(-dropped)
		}
	}
}

// alive copies a part without what is over.
func alive(part *map[name]mark, now time.Time) (next map[name]mark, dropped int64) {
	next = make(map[name]mark)
	if part == nil {
		return next, 0
	}
	for n, m := range *part {
		if m.until > unix(now) {
			next[n] = m
		} else {
			dropped++
		}
	}
	return next, dropped
}

func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}
