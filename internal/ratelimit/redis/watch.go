package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/redisconn"
)

// errFatal marks what waiting doesn't heal.
var errFatal = redisconn.ErrFatal

func fatal(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errFatal}, args...)...)
}

// watch keeps the secret, the place among those alive, and the seats, until Close. err is what the start ended with.
func (s *Source) watch(err error) {
	seated := time.Now()
	for surveyed := err == nil; ; {
		every := s.nextBeat(err)
		tick := time.NewTimer(min(every, max(0, time.Until(seated.Add(seatBeat)))))
		select {
		case <-tick.C:
		case <-s.wake:
		case <-s.resting:
			tick.Stop()
			return
		}
		tick.Stop()
		ctx, cancel := context.WithTimeout(s.end, startTime)
		if !surveyed {
			if err = s.survey(ctx); err != nil {
				s.complain(err)
			}
			surveyed = err == nil
		}
		if surveyed {
			err = s.renew(ctx)
		}
		if time.Since(seated) >= seatBeat-10*time.Millisecond {
			seated = time.Now()
			s.staySeated()
		}
		cancel()
	}
}

// nextBeat is soon at first: gateways that were started at once, or that all met Redis again, count each other anew.
func (s *Source) nextBeat(err error) time.Duration {
	if err != nil {
		s.beats = 0
		return jittered(probeEvery)
	}
	s.beats = min(s.beats+1, 8)
	return min(aliveBeat, firstBeat<<(s.beats-1))
}

// complain tells once of what the administrator has to heal.
func (s *Source) complain(err error) {
	if errors.Is(err, errFatal) && !s.told[err.Error()] {
		s.told[err.Error()] = true
		s.log.Error("redis can't be used for shared limits", "error", err)
	}
}

// renew says that we are alive, and sees to the secret.
func (s *Source) renew(ctx context.Context) error {
	err := s.agree(ctx)
	s.complain(err)
	if err != nil {
		return err
	}
	value, err := s.ask(ctx, stayScript, s.names.alive(), aliveLife.Microseconds(), "", s.me)
	if err != nil {
		return err
	}
	n, ok := value.(int64)
	if !ok {
		return errStrange("alive", value)
	}
	s.gateways.Store(max(1, n))
	if s.met.IsZero() {
		s.met = time.Now()
	}
	if time.Since(s.met) >= sureAfter {
		s.counted.Store(true)
	}
	return nil
}

// sayGoodbye has the others count one less at once.
func (s *Source) sayGoodbye() {
	if s.secret.held.Load() == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), replyTimeout)
	defer cancel()
	_, _ = s.ask(ctx, leaveScript, s.names.alive(), s.me)
}

// survey finds the servers and looks at each once: what is wrong for good ends with errFatal, what is only unwise is logged.
func (s *Source) survey(ctx context.Context) error {
	if err := s.fleet.find(ctx); err != nil {
		return s.blame(s.cfg.Addresses[0], err)
	}
	for _, n := range s.fleet.all() {
		info, err := n.look(ctx)
		if err == nil {
			err = s.check(n, info)
		}
		if err = s.blame(n.addr, err); err != nil && (errors.Is(err, errFatal) || s.fleet.cluster == nil) {
			return err
		}
	}
	return nil
}

// blame turns an answer that no waiting changes into an error that is fatal.
func (s *Source) blame(addr string, err error) error {
	switch {
	case err == nil || errors.Is(err, errFatal):
		return err
	case says(err, "WRONGPASS"), says(err, "NOAUTH"), says(err, "NOPERM"), says(err, "ERR AUTH"), says(err, "ERR Client sent AUTH, but no password is set"):
		return fatal("%s: check username and password, and what the user may do: %w", addr, err)
	case says(err, "ERR This instance has cluster support disabled"):
		return fatal("%s is not a node of a cluster: set mode to single or sentinel: %w", addr, err)
	}
	return err
}

func (n *node) look(ctx context.Context) (map[string]string, error) {
	fields := map[string]string{}
	for _, section := range []string{"server", "memory"} {
		text, err := n.client.Info(ctx, section).Result()
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				fields[name] = value
			}
		}
	}
	return fields, nil
}

func (s *Source) check(n *node, info map[string]string) error {
	mode, clustered := info["redis_mode"], s.cfg.Mode == redisconn.Cluster
	switch {
	case mode == "sentinel":
		return fatal("%s is a sentinel: set mode to sentinel", n.addr)
	case mode == "cluster" && !clustered:
		return fatal("%s is a node of a cluster: set mode to cluster", n.addr)
	case mode == "standalone" && clustered:
		return fatal("%s is not a node of a cluster: set mode to single or sentinel", n.addr)
	}
	if policy := info["maxmemory_policy"]; strings.HasPrefix(policy, "allkeys-") {
		s.log.Warn("redis evicts any key when its memory is full, and a limit that is evicted begins anew: set maxmemory-policy to noeviction or volatile-ttl",
			"server", n.addr, "maxmemory_policy", policy)
	}
	if version := info["redis_version"]; redisconn.TooOld(version) {
		s.log.Warn("redis is older than the scripts of limits are tested with", "server", n.addr, "version", version,
			"least", fmt.Sprintf("%d.%d", redisconn.LeastMajor, redisconn.LeastMinor))
	}
	return nil
}
