// Package flags reads feature flags from a file of their own and follows its changes.
//
// It promises that a flag turns on or off within two looks of a change, that a client for whom a percentage is on stays so when
// the percentage grows, and that a file that can't be read or makes no sense changes nothing: the last good flags stay, which
// is logged and counted. It does not know who asks: a flag is asked with a number that stands for the client.
package flags

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oncegate/oncegate/internal/units"

	"github.com/goccy/go-yaml"
)

// Config is flags: where they stand.
type Config struct {
	File    string         `yaml:"file" required:"true" nonempty:"true" doc:"YAML file: a mapping of names to { on: true, percent: 25 }."`
	Refresh units.Duration `yaml:"refresh" default:"2s" min:"100ms" max:"1h" doc:"How often the file is looked at."`
}

// Flag is one flag of the file.
type Flag struct {
	On      bool     `yaml:"on"`      // false: off for everybody, the kill switch
	Percent *float64 `yaml:"percent"` // of the clients; absent: 100
}

// Recorder hears of each reading. It must not block.
type Recorder interface{ FlagsRead(err error) }

// Set is the flags of one file. Its goroutine ends with Close.
type Set struct {
	cfg  Config
	log  *slog.Logger
	rec  Recorder
	now  atomic.Pointer[map[string]rule]
	stop chan struct{}
	done sync.WaitGroup
	seen os.FileInfo
}

// rule is a compiled flag: on for shares below the bound.
type rule struct {
	salt  uint64
	bound uint64 // of 1<<53
}

const (
	most     = 1 << 20 // bytes of a file
	mostMany = 10_000  // flags
)

// Open reads the file and follows it. It fails when the file can't be read now.
func Open(cfg Config, log *slog.Logger, rec Recorder) (*Set, error) {
	s := &Set{cfg: cfg, log: log, rec: rec, stop: make(chan struct{})}
	s.seen, _ = os.Stat(cfg.File)
	flags, err := Read(cfg.File)
	if err != nil {
		return nil, err
	}
	s.use(flags)
	s.done.Go(s.follow)
	return s, nil
}

// Read reads and checks a file.
func Read(file string) (map[string]Flag, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("flags: %w", err)
	}
	if info.Size() > most {
		return nil, fmt.Errorf("flags: %s is larger than %d bytes", file, most)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("flags: %w", err)
	}
	return Parse(text)
}

// errEmpty: a file that is being written is empty for a moment, which must not turn everything off.
var errEmpty = errors.New("flags: the file is empty; {} says that there are none")

// Parse reads flags strictly.
func Parse(text []byte) (map[string]Flag, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, errEmpty
	}
	flags := map[string]Flag{}
	if err := yaml.UnmarshalWithOptions(text, &flags, yaml.Strict(), yaml.DisallowUnknownField()); err != nil {
		return nil, fmt.Errorf("flags: %s", yaml.FormatError(err, false, false))
	}
	if len(flags) > mostMany {
		return nil, fmt.Errorf("flags: more than %d", mostMany)
	}
	for name, f := range flags {
		if p := f.Percent; p != nil && !(*p >= 0 && *p <= 100) {
			return nil, fmt.Errorf("flags: %s: percent is not from 0 to 100", name)
		}
	}
	return flags, nil
}

func (s *Set) use(flags map[string]Flag) {
	rules := make(map[string]rule, len(flags))
	for name, f := range flags {
		r := rule{salt: hash(name)}
		switch {
		case !f.On:
		case f.Percent == nil:
			r.bound = 1 << 53
		default:
			r.bound = uint64(*f.Percent / 100 * (1 << 53))
		}
		rules[name] = r
	}
	s.now.Store(&rules)
}

// On tells whether a flag is on for a key. A flag that there is not is off.
func (s *Set) On(flag string, key uint64) bool {
	r, ok := (*s.now.Load())[flag]
	return ok && mix(key^r.salt)>>11 < r.bound
}

// Has tells whether there is such a flag.
func (s *Set) Has(flag string) bool { _, ok := (*s.now.Load())[flag]; return ok }

// Close ends the following. The last flags stay.
func (s *Set) Close() {
	close(s.stop)
	s.done.Wait()
}

func (s *Set) follow() {
	t := time.NewTicker(s.cfg.Refresh.Std())
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
			s.look()
		}
	}
}

var errGone = errors.New("the file is gone")

// look reads the file again when it is another than before. One that is bad is told once.
func (s *Set) look() {
	info, err := os.Stat(s.cfg.File)
	if err != nil {
		if s.seen != nil {
			s.tell(errGone)
		}
		s.seen = nil
		return
	}
	if s.seen != nil && os.SameFile(info, s.seen) && info.Size() == s.seen.Size() && info.ModTime().Equal(s.seen.ModTime()) {
		return
	}
	s.seen = info
	flags, err := Read(s.cfg.File)
	if err == nil {
		s.use(flags)
	}
	s.tell(err)
}

func (s *Set) tell(err error) {
	if s.rec != nil {
		s.rec.FlagsRead(err)
	}
	if err != nil {
		s.log.Error("feature flags can't be read, the last good ones stay", "file", s.cfg.File, "error", err.Error())
		return
	}
	s.log.Info("feature flags read", "file", s.cfg.File, "flags", len(*s.now.Load()))
}

func hash(text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text))
	return mix(h.Sum64())
}

// mix spreads all bits (splitmix64).
func mix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
