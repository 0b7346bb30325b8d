package ratelimit

import (
	"math"
	"strconv"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Version is the form of the header fields that tell clients about their limits.
type Version uint8

// The versions.
const (
	Draft10    Version = iota // draft-ietf-httpapi-ratelimit-headers-10
	Next                      // what its working group is about to rename: a for r, w for t
	XRateLimit                // X-RateLimit-Limit, -Remaining and -Reset of the limit that is nearest to its end
	Off
)

// VersionOf reads a word of the document; no word is draft-10.
func VersionOf(word string) Version {
	switch word {
	case "next":
		return Next
	case "x-ratelimit":
		return XRateLimit
	case "off":
		return Off
	}
	return Draft10
}

// setFields writes the header fields over what the upstream sent, with one member for each limit that counts for the client.
// Shadow limits are not announced: clients would slow down for them. A redirect tells nothing of a limit that is nearly
// spent: the client would wait before it follows.
func (l *layer) setFields(x *pipeline.Exchange, c *call, answered bool) {
	if l.cfg.Fields == Off {
		return
	}
	announced, near := 0, false
	for i := range c.charges {
		if charge := &c.charges[i]; !charge.Limit.shadow {
			announced++
			near = near || charge.near()
		}
	}
	if announced == 0 {
		return
	}
	silent := answered && near && x.Response.Status()/100 == 3
	if l.cfg.Fields == XRateLimit {
		c.setX(x, silent)
		return
	}
	if silent {
		x.Response.Del("RateLimit-Policy")
		x.Response.Del("RateLimit")
		return
	}
	x.Response.Set("RateLimit-Policy", l.policies(c))
	x.Response.Set("RateLimit", c.members(l.cfg.Fields))
}

// fixedPolicy is RateLimit-Policy of limits without plans, or nil.
func fixedPolicy(limits []*Limit) []byte {
	policy := []byte{}
	for _, l := range limits {
		switch {
		case l.plans != nil:
			return nil
		case !l.shadow && l.word != wordUnlimited:
			policy = append(separate(policy), l.policy...)
		}
	}
	return policy
}

// policies is the value of RateLimit-Policy. It is always the same unless a plan chose some of it.
func (l *layer) policies(c *call) []byte {
	if l.policy != nil {
		return l.policy
	}
	c.field = c.field[:0]
	for i := range c.charges {
		if limit := c.charges[i].Limit; !limit.shadow {
			c.field = append(separate(c.field), limit.policy...)
		}
	}
	return c.field
}

func (c *call) members(v Version) []byte {
	c.field = c.field[:0]
	for i := range c.charges {
		if charge := &c.charges[i]; !charge.Limit.shadow {
			c.field = charge.appendMember(separate(c.field), v)
		}
	}
	return c.field
}

func separate(list []byte) []byte {
	if len(list) > 0 {
		return append(list, ", "...)
	}
	return list
}

// appendMember appends "name";r=whole tokens left;t=seconds until the bucket is full, or until the quota's period ends. What
// is full has no t.
func (c *Charge) appendMember(dst []byte, v Version) []byte {
	left, reset := ";r=", ";t="
	if v == Next {
		left, reset = ";a=", ";w="
	}
	dst = append(dst, c.Limit.member...)
	dst = append(dst, left...)
	dst = strconv.AppendInt(dst, c.left(), 10)
	if after := c.reset(); after > 0 {
		dst = append(dst, reset...)
		dst = strconv.AppendInt(dst, after, 10)
	}
	return dst
}

// left is how many whole tokens the client may still take; what is reserved for others does not count.
func (c *Charge) left() int64 { return int64(max(0, math.Floor(c.Level-c.Floor))) }

// reset is in how many seconds, rounded up, the bucket is full or the period ends; 0: it is full, or nobody can tell. All
// fields are derived from it, so that they never contradict each other.
func (c *Charge) reset() int64 {
	switch {
	case c.Limit.word != "" || c.Limit.kind == Slots || c.Level >= c.Limit.burst:
		return 0
	case c.Limit.kind == Window:
		return seconds(max(0, c.Reset))
	}
	return max(1, seconds(c.Limit.wait(c.Limit.burst-c.Level)))
}

// near reports that more than 80 % of a limit is used.
func (c *Charge) near() bool { return c.Level-c.Floor < nearShare*c.Limit.burst }

const nearShare = 0.2

// setX tells of the one limit that has the fewest tokens left; of two, of the one that takes longer.
func (c *call) setX(x *pipeline.Exchange, silent bool) {
	if silent {
		for _, name := range xFields {
			x.Response.Del(name)
		}
		return
	}
	var nearest *Charge
	for i := range c.charges {
		charge := &c.charges[i]
		if charge.Limit.shadow {
			continue
		}
		if nearest == nil || charge.left() < nearest.left() || charge.left() == nearest.left() && charge.reset() > nearest.reset() {
			nearest = charge
		}
	}
	for i, n := range [...]int64{int64(nearest.Limit.burst), nearest.left(), nearest.reset()} {
		c.field = strconv.AppendInt(c.field[:0], n, 10)
		x.Response.Set(xFields[i], c.field)
	}
}

var xFields = [...]string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}

// retryAfter is what a wait becomes in Retry-After: whole seconds, rounded up, at least 1. A long wait for a period of the calendar
// becomes up to a tenth more, so that not all clients come back when it begins; buckets drip for each client by itself. Below
// zero: coming back is useless.
func retryAfter(wait time.Duration, l *Limit, random func(n int64) int64) int {
	if wait == Never {
		return pipeline.NoRetryAfter
	}
	after := max(1, seconds(wait))
	if after > longWait && l.kind == Window && !l.quota.Rolling {
		after += random(after/10 + 1)
	}
	return int(min(after, math.MaxInt32))
}

const longWait = 10

// seconds rounds up to whole seconds.
func seconds(d time.Duration) int64 {
	s := int64(d / time.Second)
	if d%time.Second != 0 {
		s++
	}
	return s
}

// quote writes a structured field string (RFC 9651, section 3.3.3). What it can't hold becomes '?'.
func quote(name string) string {
	out := []byte{'"'}
	for _, r := range name {
		switch {
		case r == '"' || r == '\\':
			out = append(out, '\\', byte(r))
		case r < 0x20 || r > 0x7e:
			out = append(out, '?')
		default:
			out = append(out, byte(r))
		}
	}
	return string(append(out, '"'))
}
