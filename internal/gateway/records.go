package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/oncegate/oncegate/internal/answer"
	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/embedded"
	"github.com/oncegate/oncegate/internal/dedup/memory"
	"github.com/oncegate/oncegate/internal/dedup/spool"
)

const (
	backlogTime = 5 * time.Second  // how long a stop waits for results that the store did not take yet
	surveyEvery = 30 * time.Second // between two looks at everything that is open
	surveyTime  = 20 * time.Second
)

// records are those of keyed writes, with what has to end with them.
type records struct {
	*dedup.Records
	closers []func() error // in the order of opening
	stop    context.CancelFunc
	look    chan struct{} // asks for a survey now
	ended   chan struct{} // closed when the survey has ended
}

// store opens the records of keyed writes at the first call; later calls give the same.
func (s *State) store(cfg config.StateConfig) (*dedup.Records, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records != nil {
		return s.records.Records, nil
	}
	sealer, err := sealer(cfg)
	if err != nil {
		return nil, err
	}
	r := &records{look: make(chan struct{}, 1), ended: make(chan struct{})}
	deps := dedup.Deps{Sealer: sealer, Log: s.Logger, Meter: s.Metrics}
	store, err := s.open(cfg, r, &deps)
	if err != nil {
		return nil, errors.Join(err, r.closeStores())
	}
	r.Records = dedup.NewRecords(store, deps)
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	s.Metrics.Records(r)
	go s.survey(ctx, r)
	s.records = r
	return r.Records, nil
}

// Records are the records of keyed writes; nil when no route ever needed them.
func (s *State) Records() *dedup.Records {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records == nil {
		return nil
	}
	return s.records.Records
}

// MayHoldRecords tells of a store that was never opened whether it may hold records all the same, of a document before.
func MayHoldRecords(cfg config.StateConfig) bool {
	switch cfg.Store {
	case "memory":
		return false
	case "redis":
		return true
	}
	_, err := os.Stat(embeddedPath(cfg))
	return !errors.Is(err, fs.ErrNotExist)
}

func embeddedPath(cfg config.StateConfig) string { return filepath.Join(cfg.Path, "dedup") }

// look has the open records looked at now: a document has come into force, whose status checks may settle some of them.
func (s *State) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records == nil {
		return
	}
	select {
	case s.records.look <- struct{}{}:
	default: // one is asked for already
	}
}

func sealer(cfg config.StateConfig) (*answer.Sealer, error) {
	current := cfg.EncryptionKey.Reveal()
	if current == "" {
		return nil, nil
	}
	previous := make([][]byte, len(cfg.PreviousKeys))
	for i, key := range cfg.PreviousKeys {
		previous[i] = []byte(key.Reveal())
	}
	by, err := answer.NewSealer([]byte(current), previous...)
	if err != nil {
		return nil, fmt.Errorf("state.encryption_key: %w", err)
	}
	return by, nil
}

// open opens the store that the document names, and what it needs beside it.
func (s *State) open(cfg config.StateConfig, r *records, deps *dedup.Deps) (dedup.Store, error) {
	switch cfg.Store {
	case "memory":
		s.Logger.Warn("state.store is memory: records of keyed writes are lost at exit, use it for development only")
		store := memory.New(memory.Options{})
		deps.Secrets = store
		return store, nil
	case "redis":
		return s.openRedis(cfg, r, deps)
	}
	store, err := embedded.Open(embeddedPath(cfg), embedded.Options{Log: s.Logger})
	if err != nil {
		return nil, fmt.Errorf("opening state.path %s: %w", cfg.Path, err)
	}
	r.closers, deps.Secrets = append(r.closers, store.Close), store
	return store, nil
}

// openSpool opens the folder for results that a store elsewhere did not take.
func (s *State) openSpool(cfg config.StateConfig, r *records, deps *dedup.Deps) error {
	disk, err := spool.Open(filepath.Join(cfg.Path, "spool"), spool.Options{Log: s.Logger})
	if err != nil {
		return fmt.Errorf("opening state.path %s: %w", cfg.Path, err)
	}
	r.closers, deps.Spool = append(r.closers, disk.Close), disk
	return nil
}

// survey looks at the open records again and again, for the metrics and for the status checks.
func (s *State) survey(ctx context.Context, r *records) {
	defer close(r.ended)
	tick := time.NewTicker(surveyEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.look: // the first: not before the status checks are known
		}
		took, cancel := context.WithTimeout(ctx, surveyTime)
		found, err := r.Survey(took)
		cancel()
		if err == nil {
			s.Metrics.OpenRecords(found.InFlight, found.Unknown, found.OldestUnknown)
		} else if ctx.Err() == nil {
			s.Logger.Warn("the open records of keyed writes can't be counted", "error", err)
		}
	}
}

func (r *records) close() error {
	r.stop()
	<-r.ended
	ctx, cancel := context.WithTimeout(context.Background(), backlogTime)
	defer cancel()
	return errors.Join(r.Records.Close(ctx), r.closeStores())
}

func (r *records) closeStores() (err error) {
	for i := len(r.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, r.closers[i]())
	}
	return err
}
