package record

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The model check walks every course of events, up to a depth, of one key: attempts on two gateways with two requests, a
// network that delays, repeats, reorders and loses messages, crashes, jumps of time over the ends of lease, answer and key,
// a reconciler with stale tokens, erasure. Every step is judged: see judge_test.go. Worlds that were seen are not walked again.

const maxParties = 4

// party is one attempt and what it has under way: each message may arrive twice, at any later moment, or never.
type party struct {
	phase                                uint8
	begins, releases, renewals, finishes uint8 // deliveries left
	end                                  State // of its finish
	renewed                              bool  // it sent a renewal
	grants                               uint8 // bits: eras of the grants whose reply is under way to it
}

const (
	idle    uint8 = iota
	waiting       // Begin was sent
	running       // it was granted and has dispatched
	over          // it finished, gave up, or its gateway crashed: it never dispatches again
)

// verdict is what a reconciler or an operator is about to say of a token.
type verdict struct {
	holder, epoch uint8 // party + 1
	executed      bool
	left          uint8
}

// world is a state of everything; instants count from now.
type world struct {
	rec        packed
	parties    [maxParties]party
	verdict    verdict
	looks      uint8    // verdicts that may still be made
	era        uint8    // how often the key was forgotten after its time
	dispatched [3]uint8 // bits: parties that dispatched on a grant of that era
	crashed    uint8    // bits: gateways
	erased     bool
	ticks      uint8 // short passes of time that are left
}

// setup is a course's frame.
type setup struct {
	name    string
	parties []member
	reclaim bool // the upstream deduplicates
	denials bool // verdicts may be "not executed", when that is so
	looks   uint8
	ticks   uint8
	eras    uint8 // how often the key may end
	erase   bool
	crash   bool
	depth   int
	rules   rules
	effects bool // only the numbered invariants are asserted, not the table
}

// member says where an attempt runs and which request it is for.
type member struct {
	gateway uint8
	print   byte
}

// rules are the functions under test; the controls put defects in.
type rules struct {
	begin     func(Record, Claim, time.Time) (Record, Found)
	finish    func(Record, Token, Result, time.Time) (Record, Outcome)
	release   func(Record, Token, time.Time) (Record, bool)
	renew     func(Record, Token, time.Duration, time.Time) (Record, bool)
	resolve   func(Record, Token, Resolution, time.Time) (Record, bool)
	lateReply bool // a gateway executes although it gave up
}

var real = rules{begin: Record.Begin, finish: Record.Finish, release: Record.Release, renew: Record.Renew, resolve: Record.Resolve}

// packed is a record in the small: everything that decides anything.
type packed struct {
	state                      State
	print, holder, epoch       uint8
	status, answer             uint8 // whose: party + 1, or byReconciler
	named                      bool  // it has a request id
	lease, answerUntil, keyEnd int16 // from now; never means zero
}

const (
	byReconciler uint8 = 9
	never        int16 = -1 << 15
	instant      int64 = 1 << 40 // now, always: time moves by moving the record's instants

	modelLease  = 10
	modelAnswer = 20
	modelKey    = 50
	modelTick   = 3
)

var (
	modelNow     = time.Unix(0, instant)
	modelAnswers = [maxParties + 1][]byte{1: {1}, 2: {2}, 3: {3}, 4: {4}}
)

func far(t int64) int16 {
	if t == 0 {
		return never
	}
	return int16(t - instant)
}

func near(t int16) int64 {
	if t == never {
		return 0
	}
	return instant + int64(t)
}

func pack(r Record) packed {
	if r.State == Absent {
		return packed{}
	}
	p := packed{
		state: r.State, print: r.Fingerprint[0], holder: r.Token[0], epoch: uint8(r.Epoch), status: uint8(r.Status), named: r.RequestID != "",
		lease: far(r.Lease), answerUntil: far(r.AnswerUntil), keyEnd: far(r.KeyUntil),
	}
	if len(r.Answer) > 0 {
		p.answer = r.Answer[0]
	}
	return p
}

func (p packed) record() Record {
	if p.state == Absent {
		return Record{}
	}
	r := Record{
		State: p.state, Fingerprint: Fingerprint{p.print}, Token: Token{p.holder}, Epoch: uint32(p.epoch), Begun: 1, Status: int(p.status),
		Lease: near(p.lease), AnswerUntil: near(p.answerUntil), KeyUntil: near(p.keyEnd),
	}
	if p.named {
		r.RequestID = "id"
	}
	if p.answer != 0 {
		r.Answer = modelAnswers[p.answer]
	}
	return r
}

// passed is the record after a pass of time.
func (p packed) passed(d int16) packed {
	for _, t := range []*int16{&p.lease, &p.answerUntil, &p.keyEnd} {
		if *t != never {
			*t -= d
		}
	}
	return p
}

// course is one search.
type course struct {
	setup
	nodes  []node
	seen   map[world]struct{}
	from   int32
	met    map[string]int // transitions, by number
	fault  string         // the first, with the way there
	walked int            // steps deep
	now    string         // the move that is being judged
}

type node struct {
	world
	from int32
	move string
}

func explore(s setup) *course {
	start := world{looks: s.looks, ticks: s.ticks}
	c := &course{setup: s, seen: map[world]struct{}{start: {}}, nodes: []node{{world: start, from: -1}}, met: map[string]int{}}
	first := 0
	for ; c.walked < s.depth && c.fault == ""; c.walked++ {
		last := len(c.nodes)
		if first == last {
			break
		}
		for i := first; i < last && c.fault == ""; i++ {
			c.from = int32(i)
			c.moves(c.nodes[i].world)
		}
		first = last
	}
	return c
}

func (c *course) visit(w world, move string) {
	if _, old := c.seen[w]; old {
		return
	}
	c.seen[w] = struct{}{}
	c.nodes = append(c.nodes, node{w, c.from, move})
	c.look(w)
}

func (c *course) fail(format string, args ...any) {
	if c.fault != "" || c.effects && !strings.HasPrefix(format, "I") {
		return
	}
	way := []string{c.now}
	for i := c.from; i > 0; i = c.nodes[i].from {
		way = append([]string{c.nodes[i].move}, way...)
	}
	c.fault = fmt.Sprintf(format, args...) + "\nthe way there:\n  " + strings.Join(way, "\n  ")
}

var (
	four = []member{{0, 1}, {0, 2}, {1, 1}, {1, 1}}
	same = []member{{0, 1}, {1, 1}}
	odds = []member{{0, 1}, {1, 2}}
)

// The first three are walked to their end: there is no world beyond.
var setups = []setup{
	{name: "two attempts", parties: same, looks: 1, eras: 1, erase: true, crash: true, ticks: 1, depth: whole},
	{name: "two requests", parties: odds, looks: 1, denials: true, eras: 1, crash: true, depth: whole},
	{name: "two attempts, the upstream deduplicates", parties: same, reclaim: true, looks: 1, denials: true, depth: whole},
	{name: "four attempts", parties: four, looks: 1, eras: 2, erase: true, crash: true, ticks: 1, depth: 11},
	{name: "four attempts, denials", parties: four, looks: 1, denials: true, eras: 1, crash: true, depth: 12},
	{name: "four attempts, the upstream deduplicates", parties: four, reclaim: true, looks: 1, denials: true, eras: 1, depth: 12},
}

const whole = 1000

// shallow is how much less deep the search goes where time is short: -short, and the race detector.
const (
	shallow    = 3
	shallowest = 11
)

func TestModel(t *testing.T) {
	met := map[string]int{}
	for _, s := range setups {
		if testing.Short() || underRace {
			s.depth = min(s.depth-shallow, shallowest)
		}
		s.rules = real
		start := time.Now()
		c := explore(s)
		if c.fault != "" {
			t.Fatalf("%s: %s", s.name, c.fault)
		}
		t.Logf("%s: %d worlds, %d steps deep, in %s", s.name, len(c.nodes), c.walked, time.Since(start).Round(time.Millisecond))
		for number, n := range c.met {
			met[number] += n
		}
	}
	for n := 1; n <= 15; n++ {
		if number := fmt.Sprintf("T%d", n); met[number] == 0 {
			t.Errorf("%s was never met: the moves are broken", number)
		}
	}
}
