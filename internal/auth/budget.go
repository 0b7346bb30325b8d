package auth

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/auth/keyset"
)

const (
	budgetSets = 1024
	budgetWays = 8
	// budgetWindow is how long an address may save up what it does not spend, and how far it can get into debt.
	budgetWindow = 10 * time.Second
)

// spending is what a budget is for. Each is one of its own, so that forged tokens keep nobody behind the same address from
// proving a key or from logging in.
type spending uint64

const (
	onTokens spending = iota
	onProofs
	onPasswords
)

const (
	// proofCost is what a proof that fails is charged: reading a key, and a signature check.
	proofCost = 100 * time.Microsecond
	// passwordCost is what a wrong password is charged. Hashing it takes longer, which at_once bounds: a guesser has ten
	// tries at 1 %, and then one a second.
	passwordCost = 10 * time.Millisecond
)

// budget bounds the processor time that failing credentials of one client address take: forging costs nothing, finding out
// costs a signature check. It is a table of fixed size, however many addresses there are. Of those that share a place the
// one that owes least gives way, so that nobody forgets a debt by making others.
type budget struct {
	seed maphash.Seed
	sets [budgetSets]struct {
		mu    sync.Mutex
		debts [budgetWays]debt
	}
}

// debt is what an address has spent, as the moment at which all of it will have been paid back (GCRA).
type debt struct {
	who  uint64
	paid int64 // Unix nanoseconds
}

func newBudget() *budget { return &budget{seed: maphash.MakeSeed()} }

// owner is an IPv4 address, however it is written, or the /64 of an IPv6 address: a host owns all of it. The seed keeps
// strangers from choosing whose place they share.
func (b *budget) owner(from netip.Addr, on spending) uint64 {
	const odd = 0x9e3779b97f4a7c15 // spreads what there is little of
	bytes := from.As16()
	if from.Is4() || from.Is4In6() {
		return maphash.Bytes(b.seed, bytes[:]) ^ uint64(on)*odd
	}
	return maphash.Bytes(b.seed, bytes[:8]) ^ uint64(on)*odd
}

// owes is how long an address has to wait until its tokens are judged again; 0: they are.
func (b *budget) owes(from netip.Addr, on spending, now time.Time) time.Duration {
	who := b.owner(from, on)
	s := &b.sets[who%budgetSets]
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.debts {
		if d := &s.debts[i]; d.who == who {
			return max(time.Duration(d.paid-now.UnixNano())-budgetWindow, 0)
		}
	}
	return 0
}

// spend charges an address; below 0 it gives back. time is what has to pass to pay for it.
func (b *budget) spend(from netip.Addr, on spending, now time.Time, time time.Duration) {
	who, at := b.owner(from, on), now.UnixNano()
	s := &b.sets[who%budgetSets]
	s.mu.Lock()
	defer s.mu.Unlock()
	least := &s.debts[0]
	for i := range s.debts {
		d := &s.debts[i]
		if d.who == who {
			least = d
			break
		}
		if d.paid < least.paid {
			least = d
		}
	}
	if least.who != who {
		if time < 0 {
			return
		}
		*least = debt{who: who}
	}
	least.paid = min(max(least.paid, at)+int64(time), at+2*int64(budgetWindow))
}

// asker is who brings a credential, and when.
type asker struct {
	now  time.Time
	wait time.Duration // how long the request may wait
	from netip.Addr
	on   spending
}

// overspent is how long an address has to wait before credentials of it are judged that nobody has seen yet; 0: not at all.
func (a *Authority) overspent(by *asker) time.Duration {
	if a.share <= 0 {
		return 0
	}
	return a.shared.budget.owes(by.from, by.on, by.now)
}

// charge has an address pay for processor time, or gives it back when cost is below 0.
func (a *Authority) charge(by *asker, cost time.Duration) {
	if a.share > 0 {
		a.shared.budget.spend(by.from, by.on, by.now, time.Duration(float64(cost)/a.share))
	}
}

// judge has whoever brings a forgery pay for what finding out took.
func (a *Authority) judge(s *scratch, i *issuer, h *header, t *token, key *keyset.Key, by *asker) (*entry, Reason) {
	e, reason := i.judge(s, h, t, key, by.now)
	if reason == BadSignature {
		a.charge(by, key.Cost())
	}
	return e, reason
}
