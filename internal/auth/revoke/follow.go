package revoke

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// FollowConfig says how a Follower asks its Store. Zeros are the usual values.
type FollowConfig struct {
	Every    time.Duration // between two looks for news; 1 s
	Whole    time.Duration // between two looks at everything; 5 min
	Patience time.Duration // with one call; 1 s
	Log      *slog.Logger
}

const (
	usualEvery    = time.Second
	usualWhole    = 5 * time.Minute
	usualPatience = time.Second
	maxPages      = 10_000 // of one look
)

// Follower keeps a List and a Store the same: news of the Store are merged into the list, and what the list knows and the
// Store does not (it was down, was emptied, fell back to an older copy) is added to it. It is the Store of the node: what is
// added to it while the Store is down reaches the others when that is back.
type Follower struct {
	list  *List
	store Store
	cfg   FollowConfig

	whole  atomic.Bool // the next look is at everything
	cursor string      // of the goroutine alone, as what follows
	looked time.Time   // when everything was last looked at
	failed bool

	first chan struct{} // closed when the first look has ended, well or badly
	end   context.Context
	stop  context.CancelFunc
	done  chan struct{}
}

var _ Store = (*Follower)(nil)

// Follow begins at once, and goes on until Close.
func Follow(l *List, s Store, cfg FollowConfig) *Follower {
	if cfg.Every == 0 {
		cfg.Every = usualEvery
	}
	if cfg.Whole == 0 {
		cfg.Whole = usualWhole
	}
	if cfg.Patience == 0 {
		cfg.Patience = usualPatience
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	f := &Follower{list: l, store: s, cfg: cfg, first: make(chan struct{}), done: make(chan struct{})}
	f.end, f.stop = context.WithCancel(context.Background())
	f.whole.Store(true)
	go f.run()
	return f
}

// Await waits for the end of the first look, but not beyond the end of ctx.
func (f *Follower) Await(ctx context.Context) {
	select {
	case <-f.first:
	case <-ctx.Done():
	}
}

// Add tells the Store. When that fails it is told again, until it knows.
func (f *Follower) Add(ctx context.Context, e Entry) error {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Patience)
	defer cancel()
	err := f.store.Add(ctx, e)
	if err != nil {
		f.whole.Store(true)
	}
	return err
}

// Since is the Store's.
func (f *Follower) Since(ctx context.Context, cursor string) ([]Entry, string, error) {
	return f.store.Since(ctx, cursor)
}

// Close ends the following and waits for it. The list stays as it is.
func (f *Follower) Close() {
	f.stop()
	<-f.done
}

func (f *Follower) run() {
	defer close(f.done)
	for began := false; f.end.Err() == nil; began = true {
		every := f.cfg.Every
		if err := f.look(); errors.Is(err, ErrFull) {
			every *= 10 // everything has to be looked at again, and that is much
		}
		if !began {
			close(f.first)
		}
		wait := time.NewTimer(every - time.Duration(rand.Float64()*0.2*float64(every))) // a fleet does not ask in step
		select {
		case <-wait.C:
		case <-f.end.Done():
			wait.Stop()
		}
	}
}

// look asks for news, or for everything: at the start, after each failure, when the store is another one, and now and then.
func (f *Follower) look() error {
	now := time.Now()
	whole := f.whole.Swap(false) || now.Sub(f.looked) >= f.cfg.Whole
	err := f.pull(whole, now)
	if errors.Is(err, ErrGone) {
		f.cfg.Log.Warn("the store of revocations is not the one that it was: it is told again what is known here")
		whole = true
		err = f.pull(true, now)
	}
	if f.end.Err() != nil {
		return f.end.Err()
	}
	if err == nil && whole {
		f.looked = now
	}
	if err != nil {
		f.whole.Store(true)
	}
	f.report(err)
	return err
}

// report logs the first failure of a row, and its end.
func (f *Follower) report(err error) {
	switch {
	case err != nil && !f.failed:
		f.cfg.Log.Warn("revocations can't be shared; those known here stay in force, for the grace", "error", err.Error())
	case err == nil && f.failed:
		f.cfg.Log.Info("revocations are shared again")
	}
	f.failed = err != nil
}

// pull merges page by page. The list is told that the store answered only after the last page, and as of the beginning.
func (f *Follower) pull(whole bool, began time.Time) error {
	var there map[name]mark
	if whole {
		f.cursor, there = "", map[name]mark{}
	}
	for range maxPages {
		page, next, err := f.ask()
		if err != nil {
			return err
		}
		f.cursor = next
		if len(page) == 0 {
			if err := f.list.Merge(nil, began); err != nil || !whole {
				return err
			}
			return f.tell(there)
		}
		for _, e := range page {
			if err := f.take(e, began, there); err != nil {
				return err
			}
		}
	}
	return errors.New("the store of revocations does not come to an end")
}

func (f *Follower) ask() ([]Entry, string, error) {
	ctx, cancel := context.WithTimeout(f.end, f.cfg.Patience)
	defer cancel()
	return f.store.Since(ctx, f.cursor)
}

// take merges one entry. One that makes no sense is left out: the others count all the same.
func (f *Follower) take(e Entry, now time.Time, there map[name]mark) error {
	n, err := e.name()
	if err != nil {
		return nil
	}
	if there != nil {
		there[n] = mark{unix(e.Before), unix(e.Until)}
	}
	return f.list.Revoke(e, now)
}

const slack = 0.001 // seconds; a Store may keep times less exactly

// tell adds what is known here and not there. When that is much, the news come first again after a while: the rest is told at
// the next look.
func (f *Follower) tell(there map[name]mark) error {
	began := time.Now()
	for _, e := range f.list.All(began) {
		n, _ := e.name()
		m, known := there[n]
		if known && m.before+slack >= unix(e.Before) && m.until+slack >= unix(e.Until) {
			continue
		}
		if time.Since(began) > f.cfg.Every {
			f.whole.Store(true)
			return nil
		}
		ctx, cancel := context.WithTimeout(f.end, f.cfg.Patience)
		err := f.store.Add(ctx, e)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}
