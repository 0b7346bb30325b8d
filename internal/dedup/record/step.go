package record

import "time"

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
		return claimed(c, now), Found{Verdict: Acquired}
	case r.Fingerprint != c.Fingerprint: // in every state, before anything else is told
		return r, Found{Verdict: Mismatch}
	}
	f := Found{Status: r.Status, RequestID: r.RequestID, Location: r.Location}
	switch r.State {
	case InFlight:
		f.Verdict, f.Left = Busy, time.Duration(r.Lease-now.UnixNano())
		if c.Grant && r.Token == c.Token {
			f.Verdict = Acquired
		}
	case Completed:
		f.Verdict, f.Answer = Replay, r.Answer
	case Sealed:
		f.Verdict = NotKept
	default:
		f.Verdict = Undetermined
	}
	return r, f
}

// claimed is a fresh claim. The key's time starts when the lease ends: an attempt that is never heard of again stays unknown
// for the whole retention.
func claimed(c Claim, now time.Time) Record {
	lease := now.Add(c.Lease)
	return Record{
		State:       InFlight,
		Fingerprint: c.Fingerprint,
		Token:       c.Token,
		Begun:       now.UnixNano(),
		Lease:       lease.UnixNano(),
		KeyUntil:    lease.Add(c.KeepKey).UnixNano(),
	}
}

// Finish settles the record. A foreign token changes nothing. The attempt's own late word on an unknown record is the truth
// and is taken; its repeated word changes nothing; a record that vanished is made anew.
func (r Record) Finish(token Token, res Result, now time.Time) (Record, Outcome) {
	r = r.At(now)
	switch {
	case r.State == Absent:
		return settled(Record{Fingerprint: res.Fingerprint, Token: token, Begun: now.UnixNano()}, res, now), Recreated
	case r.Token != token:
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

// Release frees an attempt's own running claim; the caller has proof that nothing was sent. false: nothing was freed.
func (r Record) Release(token Token, now time.Time) (Record, bool) {
	r = r.At(now)
	if r.State != InFlight || r.Token != token {
		return r, false
	}
	return Record{}, true
}

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
func (r Record) Size() int { return fixedSize + len(r.RequestID) + len(r.Location) + len(r.Answer) }
