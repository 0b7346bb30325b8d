// Package record is the life of one keyed write: its states, and every transition between them as a pure function of a
// record, a call and a point in time. The stores run it under a lock of their own, so all of them decide alike.
//
// It promises that a record is granted to one attempt at most, that a lease which runs out grants nothing, and that only the
// attempt that holds a record's token can settle or free it. It knows no store, no clock and no HTTP.
package record

import "time"

// Key identifies a record: a keyed hash of client, scope and the client's key.
type Key [32]byte

// Fingerprint is a keyed hash of the request that a key belongs to.
type Fingerprint [32]byte

// Token is the fence of one attempt: 128 random bits.
type Token [16]byte

// Subject is a keyed hash of the client that a record belongs to; the zero value is nobody's.
type Subject [16]byte

// State is where a record stands.
type State uint8

// The states.
const (
	Absent    State = iota
	InFlight        // claimed: the request may have been sent
	Completed       // finished, the answer is kept
	Sealed          // finished, the answer is not kept
	Unknown         // nobody knows whether it was executed
	states
)

var stateWords = [states]string{"absent", "in_flight", "completed", "sealed", "unknown"}

// String is the word of the documentation.
func (s State) String() string {
	if s < states {
		return stateWords[s]
	}
	return "invalid"
}

// Record is what a store keeps for a key. Instants are nanoseconds since 1970 on the store's clock. The zero value is absent.
type Record struct {
	State       State
	Fingerprint Fingerprint
	Token       Token
	Subject     Subject
	Route       string // the route that claimed it: whose rules its client and its status check meet
	Epoch       uint32 // dispatches: 1 for the first attempt
	Begun       int64  // when it was first claimed
	Lease       int64  // in flight: from here on it counts as unknown
	AnswerUntil int64  // completed: from here on it counts as sealed
	KeyUntil    int64  // from here on it counts as absent
	Status      int    // of the answer; 0 while there is none
	RequestID   string
	Location    string
	Answer      []byte // opaque: sealing and encryption are the caller's
}

// Claim is what Begin is called with. Settings travel with the call, so a reload needs no migration.
type Claim struct {
	Fingerprint Fingerprint
	Token       Token
	Lease       time.Duration // how long the attempt may take in all
	KeepKey     time.Duration
	Subject     Subject
	Route       string
	Grant       bool // false: look, but do not claim
	Reclaim     bool // with Grant: claim what is unknown again, for an upstream that deduplicates by itself
}

// Verdict is what Begin found.
type Verdict uint8

// The verdicts.
const (
	Acquired     Verdict = iota + 1 // this attempt, and no other, may execute
	Miss                            // nothing is there, and nothing was claimed
	Mismatch                        // the key belongs to another request
	Busy                            // an attempt is running
	Replay                          // the answer is there
	NotKept                         // executed; the answer is not there
	Undetermined                    // may have been executed
)

var verdictWords = [...]string{"none", "acquired", "miss", "mismatch", "busy", "replay", "not_kept", "undetermined"}

// String names the verdict in tests and logs.
func (v Verdict) String() string { return verdictWords[v] }

// Found is the answer to Begin. Answer is the caller's own copy.
type Found struct {
	Verdict   Verdict
	Left      time.Duration // busy: of the lease; replay, not kept and undetermined: of the key's time
	Epoch     uint32        // acquired: the number of this dispatch
	Token     Token         // undetermined: what Resolve has to be called with
	Status    int
	RequestID string // of the request that was executed
	Location  string
	Answer    []byte
}

// Result is what an attempt ended with. Fingerprint is there so that a record which the store lost can be made anew.
type Result struct {
	State       State // Completed, Sealed or Unknown
	Fingerprint Fingerprint
	Subject     Subject // like Fingerprint
	Route       string  // like Fingerprint
	Status      int
	RequestID   string
	Location    string
	Answer      []byte // of a completed one; a store copies what it keeps
	KeepAnswer  time.Duration
	KeepKey     time.Duration
}

// Resolution is what a status check or an operator found out about an unknown record.
type Resolution struct {
	Executed bool   // false: nothing was executed, the key is free
	Epoch    uint32 // that the record had when it was looked at; 0: not compared, which is enough where nothing is reclaimed
	Status   int    // executed: of the answer, 0 when nobody knows
	Location string
	KeepKey  time.Duration // executed: how long the key is kept from now on
}

// Erased counts what erasing a subject did.
type Erased struct {
	Records  int // that belong to the subject
	Answers  int // that were kept and are gone
	InFlight int // that run: what they end with is stored later
}

// Outcome is the answer to Finish.
type Outcome uint8

// The outcomes.
const (
	Stored    Outcome = iota + 1
	Fenced            // another attempt holds the key: two executions may have happened
	Recreated         // the store had lost the claim; the result is kept all the same
)

var outcomeWords = [...]string{"none", "stored", "fenced", "recreated"}

// String names the outcome in tests and logs.
func (o Outcome) String() string { return outcomeWords[o] }

// Count adds a record as it was before it was erased.
func (e *Erased) Count(r Record) {
	e.Records++
	switch r.State {
	case Completed:
		e.Answers++
	case InFlight:
		e.InFlight++
	}
}
