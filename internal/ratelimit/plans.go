package ratelimit

import (
	"fmt"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// claimKey is the key of plans that is no plan.
const claimKey = "claim"

// Plan is the numbers of those clients whose claim has a certain value; or deny, or unlimited. In the document it may be one
// word, which under the key claim is the claim's name.
type Plan struct {
	Rate     Rate   `yaml:"rate" doc:"Tokens that come back, such as 100/s; or deny, or unlimited."`
	Burst    int    `yaml:"burst" min:"1" max:"1000000000" doc:"Tokens that a full bucket holds; by default those of one second, at least 1."`
	Quota    Quota  `yaml:"quota" doc:"A count per period, such as 10000/d; zone and rolling are those of the limit."`
	InFlight int    `yaml:"in_flight" min:"1" max:"1000000" doc:"Requests at the same time."`
	Word     string `yaml:"-"`
}

// FromScalar takes one word.
func (n *Plan) FromScalar(text string) error {
	n.Word = text
	if text == wordDeny || text == wordUnlimited {
		n.Rate.Word = text
	}
	return nil
}

// Scalar is the one word, if it is one.
func (n Plan) Scalar() (string, bool) { return n.Word, n.Word != "" }

// numbers are those of clients without a plan.
func (c *Config) numbers() Plan {
	return Plan{Rate: c.Rate, Burst: c.Burst, Quota: c.Quota, InFlight: c.InFlight}
}

func (n Plan) kind() Kind {
	switch {
	case n.Quota.Count != 0:
		return Window
	case n.InFlight != 0:
		return Slots
	}
	return Bucket
}

// counts reports that the plan has a number to be counted against.
func (n Plan) counts() bool { return n.Rate.Word == "" }

// holds is how many tokens a client can have at best.
func (n Plan) holds() float64 {
	switch n.kind() {
	case Window:
		return float64(n.Quota.Count)
	case Slots:
		return float64(n.InFlight)
	}
	return burstOf(n.Burst, n.Rate.PerSecond())
}

func (n Plan) String() string {
	switch {
	case n.Quota.Count != 0:
		return n.Quota.String()
	case n.InFlight != 0:
		return fmt.Sprintf("%d in flight", n.InFlight)
	case !n.counts():
		return n.Rate.Word
	}
	return fmt.Sprintf("%s, burst %d", n.Rate, int64(n.holds()))
}

// validate checks one set of numbers. missing is what is said when there are none.
func (n Plan) validate(p units.Problems, missing string) {
	given := 0
	for _, is := range []bool{n.Rate.given(), n.Quota.Count != 0, n.InFlight != 0} {
		if is {
			given++
		}
	}
	switch {
	case given == 0:
		p.Missing("rate", "%s", missing)
		return
	case given > 1 && n.Quota.Count != 0:
		p.Key("quota").Add("stands beside another number: a limit has one of rate, quota and in_flight; a route may use several limits")
		return
	case given > 1:
		p.Key("in_flight").Add("stands beside a rate: a limit has one of rate, quota and in_flight; a route may use several limits")
		return
	}
	if n.Burst < 0 || n.Burst > maxBurst {
		p.Key("burst").Add("%d is not a number of tokens from 1 to %d", n.Burst, maxBurst)
	}
	if !n.counts() || n.kind() != Bucket {
		if n.Burst > 0 {
			p.Key("burst").Add("only a limit with a rate such as 100/s has a burst")
		}
		return
	}
	switch rate := n.Rate.PerSecond(); {
	case !(rate > 0 && rate <= maxRate):
		p.Key("rate").Add("%s is outside what can be counted: more than 0 and at most 1000000000/s", n.Rate)
	case n.holds()/rate > maxFillTime:
		p.Key("rate").Add("at %s a bucket of %d takes more than ten years to fill", n.Rate, int64(n.holds()))
	}
}

// validatePlans checks that a claim chooses among plans that count what the limit counts.
func (c *Config) validatePlans(p units.Problems) {
	if len(c.Plans) == 0 {
		return
	}
	who, named := c.Plans[claimKey]
	misspelt := c.misspeltClaim()
	switch {
	case misspelt != "":
		p.UnknownKey(misspelt, []string{claimKey})
	case !named:
		p.Missing(claimKey, "plans need the claim that names a client's plan, such as claim: plan")
	case who.Word == "":
		p.Key(claimKey).Add("must be the name of a claim")
	case len(c.Plans) == 1:
		p.Add("name no plan beside the claim, such as gold: { rate: 500/s }")
	}
	for name, plan := range c.Plans {
		if name != claimKey && name != misspelt {
			c.validatePlan(p.Key(name), plan)
		}
	}
}

// misspeltClaim is the key that stands in the place of claim, if one does.
func (c *Config) misspeltClaim() string {
	if _, named := c.Plans[claimKey]; named {
		return ""
	}
	for _, name := range sorted(c.Plans) {
		plan := c.Plans[name]
		if plan.Word != "" && plan.Rate.Word == "" && units.Nearest(name, []string{claimKey}) != "" {
			return name
		}
	}
	return ""
}

func (c *Config) validatePlan(p units.Problems, plan Plan) {
	switch base := c.numbers(); {
	case plan.Word != "" && plan.Rate.Word == "":
		p.Unknown("plan", plan.Word, []string{wordDeny, wordUnlimited})
	case plan.Rate.Word == "" && plan.kind() != base.kind() && base.given() && plan.given():
		p.Add("counts another thing than the limit: a plan has a %s as well, or is deny or unlimited", base.kind())
	default:
		plan.validate(p, "a plan needs a "+base.kind().String()+"; or write deny or unlimited")
	}
}

func (n Plan) given() bool { return n.Rate.given() || n.Quota.Count != 0 || n.InFlight != 0 }

// String is the key of the document.
func (k Kind) String() string { return [...]string{"rate", "quota", "in_flight"}[k] }

// plan gives the variant of the limit that a client's verified claim chooses; the limit itself without a plan. Numbers never
// come from a token. A plan that is not known is one without.
func (l *Limit) plan(x *pipeline.Exchange) (variant *Limit, known bool) {
	if l.plans == nil {
		return l, true
	}
	if plan := l.plans[claim(&x.Client, l.claim)]; plan != nil {
		return plan, true
	}
	return l, false
}
