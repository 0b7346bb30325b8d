package traffic

import (
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"
	"sync/atomic"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Branch is what leads to one upstream. Ready tells whether a call would be let through now; nil: always.
type Branch struct {
	Name    string
	Handler pipeline.Handler
	Ready   func() bool
}

func (b *Branch) ready() bool { return b.Ready == nil || b.Ready() }

// Flags tells whether a feature flag is on for a key.
type Flags interface {
	On(flag string, key uint64) bool
}

// Split shares requests between upstreams. With sticky a client stays at its arm: raising an arm's weight moves clients to it
// only, lowering one moves clients away from it only (weighted rendezvous hashing, Schindelhauer and Schomaker 2005). It belongs to a
// snapshot; weights can be changed until the next one.
type Split struct {
	arms    []arm
	salt    uint64
	key     key
	sticky  bool
	weights atomic.Pointer[[]int]
}

type arm struct {
	branch Branch
	when   *condition
	hash   uint64
}

// NewSplit makes the handler of a split. branches stand in the order of its arms. salt is what tells this split's draws from
// those of others, the route's id.
func NewSplit(cfg Destination, salt string, branches []Branch, flags Flags) (*Split, error) {
	s := &Split{salt: hashText(salt), sticky: cfg.Sticky != ""}
	weights := make([]int, len(cfg.Split))
	for i, a := range cfg.Split {
		c, err := newCondition(a.When, flags)
		if err != nil {
			return nil, fmt.Errorf("split arm %s: %w", a.Upstream, err)
		}
		s.arms = append(s.arms, arm{branches[i], c, hashText(a.Upstream)})
		weights[i] = a.Weight
	}
	if s.sticky {
		k, problem := parseKey(cfg.Sticky)
		if problem != "" {
			return nil, fmt.Errorf("sticky: %q %s", cfg.Sticky, problem)
		}
		s.key = k
	}
	s.weights.Store(&weights)
	return s, nil
}

// Serve implements pipeline.Handler.
func (s *Split) Serve(ctx context.Context, x *pipeline.Exchange) error {
	return s.arms[s.choose(x)].branch.Handler.Serve(ctx, x)
}

// choose gives the arm of a request: the first whose conditions hold, else by weight. An arm that lets nothing through is
// passed over as long as another does.
func (s *Split) choose(x *pipeline.Exchange) int {
	who := s.draw(x)
	for i := range s.arms {
		if c := s.arms[i].when; c != nil && c.holds(x, who) && s.arms[i].branch.ready() {
			return i
		}
	}
	draw := mix(who ^ s.salt)
	if i := s.byWeight(draw, true); i >= 0 {
		return i
	}
	return max(s.byWeight(draw, false), 0)
}

// draw is a number of who asks, the same on all routes: a flag that is on for a client is on everywhere. Shares of different
// splits are drawn apart by the salt.
func (s *Split) draw(x *pipeline.Exchange) uint64 {
	if s.sticky {
		if h, ok := s.key.hash(x); ok {
			return mix(h)
		}
	}
	return rand.Uint64()
}

// byWeight gives the arm with the best score: -weight/ln(u), with u evenly spread by key and arm.
func (s *Split) byWeight(draw uint64, onlyReady bool) int {
	best, score := -1, -1.0
	weights := *s.weights.Load()
	for i := range s.arms {
		if weights[i] == 0 || onlyReady && !s.arms[i].branch.ready() {
			continue
		}
		u := (float64(mix(draw^s.arms[i].hash)>>11) + 0.5) / (1 << 53)
		if now := -float64(weights[i]) / math.Log(u); now > score {
			best, score = i, now
		}
	}
	return best
}

// Weights are the present ones, by upstream.
func (s *Split) Weights() map[string]int {
	all := make(map[string]int, len(s.arms))
	for i, w := range *s.weights.Load() {
		all[s.arms[i].branch.Name] = w
	}
	return all
}

// SetWeights replaces all weights. Every arm has to be named, no other, and one has to be above zero.
func (s *Split) SetWeights(to map[string]int) error {
	weights, total := make([]int, len(s.arms)), 0
	for i := range s.arms {
		w, named := to[s.arms[i].branch.Name]
		if !named || w < 0 || w > 1_000_000 {
			return fmt.Errorf("the weight of %s is missing, or not from 0 to 1000000", s.arms[i].branch.Name)
		}
		weights[i] = w
		total += w
	}
	if len(to) != len(s.arms) || total == 0 {
		return fmt.Errorf("there are names that no arm has, or all weights are 0")
	}
	s.weights.Store(&weights)
	return nil
}

func hashText(text string) uint64 {
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

// hashBytes is FNV-1a without an allocation.
func hashBytes(h uint64, b []byte) uint64 {
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

const hashSeed = 14695981039346656037

// Words says how requests are shared, for explain.
func (d *Destination) Words() string {
	words := make([]string, len(d.Split))
	for i, a := range d.Split {
		words[i] = fmt.Sprintf("%s %d", a.Upstream, a.Weight)
		if a.When != nil {
			words[i] += " and all that its conditions take"
		}
	}
	text := strings.Join(words, ", ")
	if d.Sticky != "" {
		text += ", by " + d.Sticky
	}
	return text
}
