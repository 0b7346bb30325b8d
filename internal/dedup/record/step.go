package record

import (
	"time"

	"github.com/oncegate/oncegate/internal/mutant"
)

// At is the record as it counts at an instant: a lease that ran out makes it unknown, an answer past its time makes it
// sealed, a key past its time makes it absent. Nothing has to be written for that: a store that sweeps late is still right.
func (r Record) At(now time.Time) Record {
	t := now.UnixNano()
	if r.State == Absent || t >= r.KeyUntil {
		return Record{}
	}
	switch {
	case r.State == InFlight && t >= r.Lease:
		r.State = Unknown
	case r.State == Completed && t >= r.AnswerUntil:
		r.State, r.Answer = Sealed, nil
	}
	return r
}

// Begin claims the record or says what is there. Only a record that Acquired returns has to be written. A resend of the same
// token finds its own claim again, so a call whose reply was lost may be repeated.
func (r Record) Begin(c Claim, now time.Time) (Record, Found) {
	r = r.At(now)
	switch {
	case r.State == Absent && !c.Grant:
		return r, Found{Verdict: Miss}
	case r.State == Absent:
		return claimed(r, c, now), Found{Verdict: Acquired, Epoch: 1}
	case r.Fingerprint != c.Fingerprint: // in every state, before anything else is told
		return r, Found{Verdict: Mismatch}
	}
	if r.State == Unknown && c.Grant && (c.Reclaim || mutant.TakeoverExecutes) {
		r = claimed(r, c, now)
		return r, Found{Verdict: Acquired, Epoch: r.Epoch}
	}
	f := Found{Left: time.Duration(r.KeyUntil - now.UnixNano()), Status: r.Status, RequestID: r.RequestID, Location: r.Location}
	switch r.State {
	case InFlight:
		f.Verdict, f.Left = Busy, time.Duration(r.Lease-now.UnixNano())
		if c.Grant && r.Token == c.Token {
			f.Verdict, f.Epoch = Acquired, r.Epoch
		}
	case Completed:
		f.Verdict, f.Answer = Replay, r.Answer
	case Sealed:
		f.Verdict = NotKept
	default:
		f.Verdict, f.Token = Undetermined, r.Token
	}
	return r, f
}

// claimed is a fresh claim, or one on top of an unknown record. The key's time starts when the lease ends: an attempt that
// is never heard of again stays unknown for the whole retention.
func claimed(old Record, c Claim, now time.Time) Record {
	lease := now.Add(c.Lease)
	r := Record{
		State:       InFlight,
		Fingerprint: c.Fingerprint,
		Token:       c.Token,
		Subject:     c.Subject,
		Route:       c.Route,
		Epoch:       old.Epoch + 1,
		Begun:       now.UnixNano(),
		Lease:       lease.UnixNano(),
		KeyUntil:    lease.Add(c.KeepKey).UnixNano(),
	}
	if old.State != Absent {
		r.Begun = old.Begun
	}
	if mutant.RecordDiesWithLease {
		r.KeyUntil = r.Lease
	}
	return r
}

// Finish settles the record. A foreign token changes nothing. The attempt's own late word on an unknown record is the truth
// and is taken; its repeated word changes nothing; a record that vanished is made anew.
func (r Record) Finish(token Token, res Result, now time.Time) (Record, Outcome) {
	r = r.At(now)
	switch {
	case r.State == Absent:
		made := Record{Fingerprint: res.Fingerprint, Token: token, Subject: res.Subject, Route: res.Route, Epoch: 1, Begun: now.UnixNano()}
		return settled(made, res, now), Recreated
	case r.Token != token && !mutant.BlindFinish:
		return r, Fenced
	case r.State == Completed || r.State == Sealed:
		return r, Stored
	case r.State == Unknown && res.State == Unknown: // its retention does not start again
		return r, Stored
	}
	return settled(r, res, now), Stored
}

func settled(r Record, res Result, now time.Time) Record {
	r.State, r.Status, r.RequestID, r.Location = res.State, res.Status, res.RequestID, res.Location
	r.Lease, r.AnswerUntil, r.Answer = 0, 0, nil
	r.KeyUntil = now.Add(max(res.KeepKey, res.KeepAnswer)).UnixNano()
	if res.State == Completed {
		r.Answer, r.AnswerUntil = res.Answer, now.Add(res.KeepAnswer).UnixNano()
	}
	return r
}

// Release frees an attempt's own running claim; the caller has proof that nothing was sent. false: nothing was freed. A claim
// on top of an unknown record is never freed: the proof holds for its own dispatch, not for the earlier one. It counts as
// unknown again when its lease ends, or at once when the attempt finishes it as unknown.
func (r Record) Release(token Token, now time.Time) (Record, bool) {
	r = r.At(now)
	if r.State != InFlight || r.Token != token || r.Epoch > 1 {
		return r, false
	}
	return Record{}, true
}

// Renew extends the lease of the attempt's own claim, also after it ran out: its owner was paused, and its call is still open.
// The key's time moves along: it starts when the lease ends. false: there is nothing of it to extend. That goes for a claim
// which its owner finished as unknown, too: such a call is an old one that was late on its way.
func (r Record) Renew(token Token, lease time.Duration, now time.Time) (Record, bool) {
	r = r.At(now)
	if r.Token != token || !r.Open() || r.Lease == 0 {
		return r, false
	}
	keep, until := r.KeyUntil-r.Lease, max(r.Lease, now.Add(lease).UnixNano())
	r.State, r.Lease, r.KeyUntil = InFlight, until, until+keep
	return r, true
}

// Resolve settles an unknown record from outside its attempt. The token is the one that the record had when it was looked at,
// and so is the epoch: a late repetition of an old claim can bring an old token back, but no old epoch. false means that the
// record was settled, freed or claimed again in between, and nothing was changed.
func (r Record) Resolve(token Token, v Resolution, now time.Time) (Record, bool) {
	r = r.At(now)
	if r.State != Unknown || r.Token != token || v.Epoch != 0 && v.Epoch != r.Epoch {
		return r, false
	}
	if !v.Executed {
		return Record{}, true
	}
	done := settled(r, Result{State: Sealed, Status: v.Status, Location: v.Location, KeepKey: v.KeepKey}, now)
	done.KeyUntil = max(done.KeyUntil, r.KeyUntil) // who looks on from outside never makes a key executable earlier
	return done, true
}

// Erase drops what a record says of a person: the answer and its traces. The key stays, so that nothing runs twice. What runs
// is left alone.
func (r Record) Erase() Record {
	if r.State == InFlight || r.State == Absent {
		return r
	}
	if r.State == Completed {
		r.State = Sealed
	}
	r.Answer, r.AnswerUntil, r.RequestID, r.Location = nil, 0, "", ""
	return r
}

// Open tells whether somebody still has to settle the record.
func (r Record) Open() bool { return r.State == InFlight || r.State == Unknown }

// Orphan is what a claim becomes whose process is gone.
func (r Record) Orphan() Record {
	if r.State == InFlight {
		r.State, r.Lease = Unknown, 0
	}
	return r
}

// Due is the instant, on the store's clock, at which a sweep has something to do with the record: drop the answer or the whole.
func (r Record) Due() int64 {
	if r.State == Completed && r.AnswerUntil < r.KeyUntil {
		return r.AnswerUntil
	}
	return r.KeyUntil
}

// Size is what the record takes of a store's budget, in bytes, without the store's own overhead.
func (r Record) Size() int {
	return fixedSize + len(r.Route) + len(r.RequestID) + len(r.Location) + len(r.Answer)
}
