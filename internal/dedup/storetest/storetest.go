// Package storetest is the contract of dedup.Store as tests. Every store must pass all of them.
package storetest

import (
	"context"
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/record"
)

// Subject is a store under test. Advance lets the store's clock pass by at least d; a store whose clock can't be set sleeps.
type Subject struct {
	Store   dedup.Store
	Advance func(d time.Duration)
}

// Times of the suite, short enough for a store that has to sleep.
const (
	Lease      = 300 * time.Millisecond
	KeepAnswer = 400 * time.Millisecond
	KeepKey    = 900 * time.Millisecond
)

// Run runs the suite; open gives a fresh, empty store for each test and cleans up with t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for name, test := range map[string]func(*testing.T, fixture){
		"Claim":         testClaim,
		"Look":          testLook,
		"Mismatch":      testMismatch,
		"Replay":        testReplay,
		"Sealed":        testSealed,
		"Unknown":       testUnknown,
		"LeaseOver":     testLeaseOver,
		"Fence":         testFence,
		"Release":       testRelease,
		"Repeat":        testRepeat,
		"Recreate":      testRecreate,
		"AnswerOver":    testAnswerOver,
		"KeyOver":       testKeyOver,
		"Isolation":     testIsolation,
		"Copies":        testCopies,
		"LargeAnswer":   testLargeAnswer,
		"GRPCAnswer":    testGRPCAnswer,
		"OneOfMany":     testOneOfMany,
		"ManyRounds":    testManyRounds,
		"TruthIsStable": testTruthIsStable,
		"Renew":         testRenew,
		"RenewLate":     testRenewLate,
		"LookAt":        testLookAt,
		"Resolve":       testResolve,
		"ResolvedFree":  testResolveNotExecuted,
		"Reclaim":       testReclaim,
		"ReclaimOther":  testReclaimMismatch,
		"ReleaseAgain":  testReleaseAfterReclaim,
		"RenewSettled":  testRenewSettled,
		"RenewKeeps":    testRenewKeepsKey,
		"ResolveEpoch":  testResolveEpoch,
		"ResolveKeeps":  testResolveKeeps,
		"Open":          testOpen,
		"Erase":         testErase,
	} {
		t.Run(name, func(t *testing.T) { test(t, fixture{t, open(t)}) })
	}
}

type fixture struct {
	t *testing.T
	Subject
}

var (
	key  = record.Key{1}
	fp   = record.Fingerprint{1}
	fp2  = record.Fingerprint{2}
	mine = record.Token{1}
	his  = record.Token{2}
)

func (f fixture) begin(k record.Key, print record.Fingerprint, token record.Token, grant bool) record.Found {
	f.t.Helper()
	found, err := f.Store.Begin(context.Background(), k, record.Claim{Fingerprint: print, Token: token, Lease: Lease, KeepKey: KeepKey, Grant: grant})
	if err != nil {
		f.t.Fatalf("Begin: %v", err)
	}
	return found
}

// expect begins with the other token and checks what is found.
func (f fixture) expect(want record.Verdict) record.Found {
	f.t.Helper()
	found := f.begin(key, fp, his, false)
	if found.Verdict != want {
		f.t.Fatalf("found %s, want %s", found.Verdict, want)
	}
	if told := want == record.Replay || want == record.NotKept || want == record.Undetermined; told && (found.Left <= 0 || found.Left > Lease+KeepKey) {
		f.t.Errorf("%s: the key has %s left, of %s", want, found.Left, KeepKey)
	}
	return found
}

func (f fixture) claim() {
	f.t.Helper()
	if found := f.begin(key, fp, mine, true); found.Verdict != record.Acquired {
		f.t.Fatalf("claim: %s", found.Verdict)
	}
}

func (f fixture) finish(token record.Token, s record.State, want record.Outcome) {
	f.t.Helper()
	outcome, err := f.Store.Finish(context.Background(), key, token, Result(s))
	if err != nil || outcome != want {
		f.t.Fatalf("Finish(%s): %s, %v; want %s", s, outcome, err, want)
	}
}

func (f fixture) release(token record.Token, want bool) {
	f.t.Helper()
	freed, err := f.Store.Release(context.Background(), key, token)
	if err != nil || freed != want {
		f.t.Fatalf("Release: %v, %v; want %v", freed, err, want)
	}
}

// Result is what the suite finishes with.
func Result(s record.State) record.Result {
	r := record.Result{State: s, Fingerprint: fp, Status: 201, RequestID: "first", Location: "/o/1", KeepAnswer: KeepAnswer, KeepKey: KeepKey}
	switch s {
	case record.Completed:
		r.Answer = []byte("the answer")
	case record.Unknown:
		r.Status = 0
	}
	return r
}

// numbered makes the nth of many keys, spread like hashes.
func numbered(n int) (k record.Key) {
	binary.BigEndian.PutUint64(k[:], uint64(n)*0x9e3779b97f4a7c15)
	return k
}

func token(n int) (t record.Token) {
	binary.BigEndian.PutUint64(t[:], uint64(n)+100)
	return t
}

// storm runs n calls at once and waits for them.
func storm(n int, call func(i int)) {
	var start, done sync.WaitGroup
	start.Add(1)
	for i := range n {
		done.Go(func() {
			start.Wait()
			call(i)
		})
	}
	start.Done()
	done.Wait()
}
