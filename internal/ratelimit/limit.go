package ratelimit

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"
)

// Kind says what a limit counts.
type Kind uint8

// The kinds.
const (
	Bucket Kind = iota // tokens that come back at a rate
	Window             // a quota: so many per period
	Slots              // requests at the same time
)

// Failure says what a shared limit does while its store is down.
type Failure uint8

// The ways to fail.
const (
	FailLocal Failure = iota // count in this process, with this gateway's share of the rate
	FailAllow                // let everything pass
	FailDeny                 // refuse with store-unavailable
)

// Limit is a compiled limit: settings only, no counters. It travels with every call to a store, so a reload changes the rate
// without emptying a bucket. A plan is a limit of the same name with other numbers: a client that changes its plan keeps its
// bucket.
type Limit struct {
	name      string
	kind      Kind
	word      string  // deny or unlimited: nothing is counted
	rate      float64 // tokens a second; of a Window the mean
	burst     float64 // tokens of a full bucket; of a Window the count, of Slots how many
	floor     float64 // tokens of a full bucket that only critical routes may take
	quota     Quota
	cost      float64
	costs     *costs // nil: every request costs the same
	by        []by
	onMissing missing
	failure   Failure
	shared    bool
	shadow    bool
	claim     string            // that chooses a plan
	plans     map[string]*Limit // by its values; nil: no plans
	member    string            // the name as a structured field string: "per-client"
	policy    string            // its member of RateLimit-Policy: "per-client";q=200;w=2
	prefix    []byte            // begins every key: the name behind its length
}

// Compile makes a limit of a configuration that Validate accepts.
func Compile(name string, cfg Config) *Limit {
	base := compile(name, &cfg, cfg.numbers())
	for value, plan := range cfg.Plans {
		if value == claimKey {
			base.claim = plan.Word
			continue
		}
		if base.plans == nil {
			base.plans = make(map[string]*Limit, len(cfg.Plans))
		}
		base.plans[value] = compile(name, &cfg, plan)
	}
	return base
}

func compile(name string, cfg *Config, n Plan) *Limit {
	l := &Limit{
		name:   name,
		kind:   n.kind(),
		word:   n.Rate.Word,
		cost:   float64(cfg.Cost.Base),
		costs:  compileCosts(cfg.Cost),
		shared: cfg.Scope == "shared",
		shadow: cfg.Mode == "shadow",
		member: quote(name),
		prefix: append(binary.AppendUvarint(nil, uint64(len(name))), name...),
	}
	for _, word := range cfg.By {
		part, _ := parseBy(word)
		l.by = append(l.by, part)
	}
	if len(l.by) == 0 {
		l.by = []by{{kind: byClient}}
	}
	switch {
	case cfg.OnMissing == "shared":
		l.onMissing = missingShared
	case cfg.OnMissing == "reject" && !l.shadow: // a shadow refuses nothing: it counts by address
		l.onMissing = missingReject
	}
	switch cfg.OnStoreFailure {
	case "allow":
		l.failure = FailAllow
	case "deny":
		l.failure = FailDeny
	}
	l.count(cfg, n)
	l.policy = l.member + l.policyParameters()
	return l
}

// count fills in the numbers of the limit's kind.
func (l *Limit) count(cfg *Config, n Plan) {
	if l.word != "" {
		return
	}
	l.burst = n.holds()
	switch l.kind {
	case Bucket:
		l.rate = n.Rate.PerSecond()
		l.floor = floorOf(float64(cfg.Reserve), l.burst)
	case Window:
		l.quota = n.Quota
		l.quota.Rolling = cfg.Rolling
		l.quota.Zone, _ = zoneOf(cfg.Zone)
		l.rate = l.burst / l.quota.Length().Seconds()
	}
}

// policyParameters are q, how many, and w, in how many seconds, of RateLimit-Policy. A month is said to have 31 days.
func (l *Limit) policyParameters() string {
	q := ";q=" + strconv.FormatInt(int64(l.burst), 10)
	switch {
	case l.word != "":
		return q
	case l.kind == Slots:
		return q + `;qu="concurrent-requests"`
	case l.kind == Window:
		return q + ";w=" + strconv.FormatInt(int64(l.quota.Length().Seconds()), 10)
	}
	return q + ";w=" + strconv.FormatInt(max(1, ceil(l.burst/l.rate)), 10)
}

// withCost is the limit with another price for every request.
func (l *Limit) withCost(tokens float64) *Limit {
	other := *l
	other.cost = tokens
	if l.costs != nil {
		other.costs = &costs{header: l.costs.header}
	}
	if l.plans != nil {
		other.plans = make(map[string]*Limit, len(l.plans))
		for value, plan := range l.plans {
			other.plans[value] = plan.withCost(tokens)
		}
	}
	return &other
}

// Plans are the limit's variants by the values of the claim; nil without plans. Their buckets are those of the limit.
func (l *Limit) Plans() map[string]*Limit { return l.plans }

// Name is the key of the limit under rate_limits.
func (l *Limit) Name() string { return l.name }

// Kind says what the limit counts.
func (l *Limit) Kind() Kind { return l.kind }

// Rate is tokens a second.
func (l *Limit) Rate() float64 { return l.rate }

// Burst is the tokens of a full bucket, the count of a quota, or the number of slots.
func (l *Limit) Burst() float64 { return l.burst }

// Quota is the count and the period of a Window.
func (l *Limit) Quota() Quota { return l.quota }

// Shared reports that the whole fleet counts together.
func (l *Limit) Shared() bool { return l.shared }

// OnStoreFailure says what to do while the shared store is down.
func (l *Limit) OnStoreFailure() Failure { return l.failure }

// Policy is the limit's member of the field RateLimit-Policy.
func (l *Limit) Policy() string { return l.policy }

// Shadow reports that the limit decides and counts but refuses nothing.
func (l *Limit) Shadow() bool { return l.shadow }

// Spec is what a limit amounts to, for admin pages: tokens a second, tokens of a full bucket, tokens a request.
func (l *Limit) Spec() (rate float64, burst, cost int64) {
	return l.rate, int64(l.burst), int64(l.cost)
}

// Share is what one of n gateways may let pass alone: the n-th part of the rate, and at least one token at once. It counts in
// buckets of its own name.
func (l *Limit) Share(n int) *Limit {
	part := *l
	part.name, part.shared = l.name+"\x00alone", false
	part.rate = l.rate / float64(max(1, n))
	part.burst = max(1, math.Floor(l.burst/float64(max(1, n))))
	part.floor = min(part.burst-1, l.floor/float64(max(1, n)))
	if l.quota.Count > 0 {
		part.quota.Count = int64(part.burst)
	}
	return &part
}

// level is what a bucket holds now. The clock may stand still but not go back: that would mint tokens twice.
func (l *Limit) level(b *bucket, now int64) float64 {
	level := b.level
	if now > b.last {
		level += time.Duration(now-b.last).Seconds() * l.rate
	}
	return min(level, l.burst)
}

// wait is how long tokens take to come back, cut to whole nanoseconds: a caller who waits that long is admitted.
func (l *Limit) wait(tokens float64) time.Duration {
	if tokens <= 0 {
		return 0
	}
	ns := tokens / l.rate * float64(time.Second)
	if !(ns < math.MaxInt64) {
		return math.MaxInt64
	}
	return time.Duration(ns)
}

// burstOf gives the size of a bucket; without one it holds the tokens of one second.
func burstOf(burst int, rate float64) float64 {
	if burst != 0 {
		return float64(burst)
	}
	return float64(max(1, ceil(rate)))
}

// floorOf is a share of a bucket in whole tokens.
func floorOf(share, burst float64) float64 { return math.Floor(share*burst + 1e-9) }

// ceil rounds up, but not over an error in the last binary digits: 11 tokens at 11 a minute take 60 seconds.
func ceil(v float64) int64 { return int64(math.Ceil(v - v*1e-12)) }
