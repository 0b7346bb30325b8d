package chaos

// Meaning is what a call's answer says about its record.
type Meaning int

// The meanings.
const (
	Nothing      Meaning = iota // no whole answer
	Real                        // the upstream's answer, which is stored
	Loose                       // the upstream's answer, which could not be stored
	Doubled                     // the upstream's answer of an attempt whose claim was taken
	Bare                        // the upstream's answer, unprotected
	Freed                       // the upstream's answer that frees the key
	Running                     // in-progress
	Sealed                      // executed, the answer is not kept
	Undetermined                // nobody knows
	Reused                      // the key belongs to another body
	Refused                     // not executed, to be tried again
	Odd                         // nothing that the contract knows
)

var meaningWords = [...]string{"nothing", "real", "loose", "doubled", "bare", "freed", "running", "sealed", "undetermined", "reused", "refused", "odd"}

func (m Meaning) String() string { return meaningWords[m] }

// Means reads the answer.
func (c *Call) Means() Meaning {
	a := &c.Answer
	switch {
	case c.End == 0 || c.Err != "":
		return Nothing
	case a.Kind != "":
		return a.problem()
	}
	switch a.Said {
	case "executed", "replayed":
		if FreesKey(a.Status) {
			return Freed
		}
		if a.Replayed != (a.Said == "replayed") {
			return Odd
		}
		return Real
	case "not-persisted":
		return Loose
	case "conflict":
		return Doubled
	case "not-protected":
		return Bare
	}
	return Odd
}

func (a *Answer) problem() Meaning {
	switch a.Kind {
	case "in-progress":
		return Running
	case "result-unavailable":
		return Sealed
	case "outcome-unknown":
		return Undetermined
	case "key-reused":
		return Reused
	case "store-unavailable", "upstream-open", "overloaded", "rate-limited", "upstream-failed", "upstream-timeout":
		if a.Executed != "no" {
			return Odd
		}
		return Refused
	case "draining", "auth-unavailable":
		return Refused
	}
	return Odd
}
