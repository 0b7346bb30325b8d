package record

import (
	"strings"
	"testing"
	"time"
)

// A check that never fails proves nothing: each known defect, put into the rules, must be found, with the way that leads to it.
func TestModelFindsDefects(t *testing.T) {
	plain := setup{parties: four, looks: 1, eras: 1, depth: 9}
	reclaim := setup{parties: four, reclaim: true, looks: 1, eras: 1, depth: 9}
	for _, c := range []struct {
		defect string
		in     setup
		rules  func(*rules)
		fault  string // the first
		effect string // what a client or an upstream sees of it, where the table is not asserted; "": nothing in this model
	}{
		{"the lease's end grants", plain, func(r *rules) {
			r.begin = func(r Record, c Claim, now time.Time) (Record, Found) {
				c.Reclaim = true
				return r.Begin(c, now)
			}
		}, "acquired, where undetermined is right", "I1"},
		{"the record dies with its lease", plain, func(r *rules) {
			r.begin = func(r Record, c Claim, now time.Time) (Record, Found) {
				r, found := r.Begin(c, now)
				if r.State == InFlight {
					r.KeyUntil = r.Lease
				}
				return r, found
			}
		}, "when the lease ends the key is kept for 0 only", "I1"},
		{"a finish that does not look at the token", plain, func(r *rules) {
			r.finish = func(r Record, token Token, res Result, now time.Time) (Record, Outcome) {
				r.Token = token
				return r.Finish(token, res, now)
			}
		}, "stored on ", "I8"},
		{"an ambiguous failure frees the key", plain, func(r *rules) {
			r.finish = func(r Record, token Token, res Result, now time.Time) (Record, Outcome) {
				if res.State == Unknown && r.Token == token {
					return Record{}, Stored
				}
				return r.Finish(token, res, now)
			}
		}, "no transition of the table", "I1"},
		{"a second finish replaces the first", plain, func(r *rules) {
			r.finish = func(r Record, token Token, res Result, now time.Time) (Record, Outcome) {
				if r.State == Sealed && r.Token == token {
					return settled(r, Result{State: Completed, Status: 8, KeepAnswer: modelAnswer, KeepKey: modelKey}, now), Stored
				}
				return r.Finish(token, res, now)
			}
		}, "no transition of the table", "I4"},
		{"a release that does not look at the token", plain, func(r *rules) {
			r.release = func(r Record, token Token, now time.Time) (Record, bool) { return r.Release(r.Token, now) }
		}, "freed true", "I"},
		{"a release of what is unknown", plain, func(r *rules) {
			r.release = func(r Record, token Token, now time.Time) (Record, bool) {
				if r = r.At(now); r.Token == token && r.Open() {
					return Record{}, true
				}
				return r, false
			}
		}, "no transition of the table", ""},
		{"a reply after giving up executes", plain, func(r *rules) { r.lateReply = true }, "I", "I"},
		{"a release frees what was claimed again", reclaim, func(r *rules) {
			r.release = func(r Record, token Token, now time.Time) (Record, bool) {
				r.Epoch = min(r.Epoch, 1)
				return r.Release(token, now)
			}
		}, "no transition of the table", "I4"},
		{"a verdict on an old claim settles a new one", setup{parties: same, reclaim: true, looks: 1, denials: true, depth: 20}, func(r *rules) {
			r.resolve = func(r Record, token Token, v Resolution, now time.Time) (Record, bool) {
				v.Epoch = 0
				return r.Resolve(token, v, now)
			}
		}, "I4: freed by a verdict", "I4: freed by a verdict"},
		{"a renewal takes from the key's time", plain, func(r *rules) {
			r.renew = func(r Record, token Token, lease time.Duration, now time.Time) (Record, bool) {
				was := r.KeyUntil
				r, renewed := r.Renew(token, lease, now)
				r.KeyUntil = max(was, r.Lease)
				return r, renewed
			}
		}, "when the lease ends the key is kept for", ""},
		{"a late renewal of what was finished as unknown", plain, func(r *rules) {
			r.renew = func(r Record, token Token, lease time.Duration, now time.Time) (Record, bool) {
				if r = r.At(now); r.Token == token && r.State == Unknown {
					r.State, r.Lease = InFlight, now.Add(lease).UnixNano()
					r.KeyUntil = r.Lease + modelKey
					return r, true
				}
				return r.Renew(token, lease, now)
			}
		}, "no transition of the table", ""},
	} {
		c.in.rules = real
		c.rules(&c.in.rules)
		first := explore(c.in).fault
		c.in.effects = true
		effect := explore(c.in).fault
		if !strings.HasPrefix(first, c.fault) || !strings.HasPrefix(effect, c.effect) || c.effect == "" && effect != "" {
			t.Errorf("%s: found is %q and %q; want %q and %q", c.defect, first, effect, c.fault, c.effect)
		}
		t.Logf("%s: %s", c.defect, effect)
	}
}
