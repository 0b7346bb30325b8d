package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Bounds of Basic (RFC 7617).
const (
	maxUserName  = 128
	maxPair      = 768 // user, colon and password
	provenLife   = 5 * time.Minute
	passwordWait = time.Second
	maxWaiting   = 64 // for a place to check a password, of one list
)

// users are those that a route takes, of all its lists.
type users struct {
	byName map[string]*basicUser
	all    []*basicUser // in a fixed order
}

func newUsers(lists []*userList) (u users, err error) {
	u.byName = map[string]*basicUser{}
	for _, l := range lists {
		for _, name := range slices.Sorted(maps.Keys(l.users)) {
			if u.byName[name] != nil {
				return u, fmt.Errorf("user %q stands in two lists of basic_users of one route", name)
			}
			u.byName[name] = l.users[name]
			u.all = append(u.all, l.users[name])
		}
	}
	return u, nil
}

// byBasic identifies a user by name and password. A pair that was right is known for some minutes by a keyed hash, and one
// that was wrong for half a minute. Whether the name exists can't be seen from the time an answer takes: for one that doesn't,
// the password is checked against the hash of another user, always the same for the same name, and refused in any case. An
// address that guesses pays for it, and is not listened to for a while.
func (g *gate) byBasic(x *pipeline.Exchange, field []byte, now time.Time) identified {
	who := identified{scheme: basicScheme}
	if !confidential(x) {
		who.reason = PlainText
		return who
	}
	var room [maxPair]byte
	name, secret, ok := basicPair(room[:], field)
	if !ok {
		who.reason = MalformedBasic
		return who
	}
	mac := g.authority.shared.pairMAC(name, secret)
	user := g.users.byName[string(name)]
	if user != nil {
		who.source = user.client.Issuer
		if user.isProven(&mac, now) {
			who.claims, who.client, who.cached = user.claims, &user.client, true
			return who
		}
	}
	like := user
	if like == nil {
		tag := g.authority.shared.pairMAC(name, nil)
		like = g.users.all[binary.LittleEndian.Uint64(tag[:])%uint64(len(g.users.all))]
	}
	id := cacheKey{digest: mac, profile: like.list.profile}
	if who.reason = g.authority.shared.failures.get(&id, 0, now); who.reason != accepted {
		who.cached = true
		return who
	}
	by := asker{now: now, from: x.ClientIP, on: onPasswords}
	if who.after = g.authority.overspent(&by); who.after > 0 {
		who.reason = TooManyFailures
		return who
	}
	by.wait, _ = x.Remaining(now, passwordWait)
	if who.reason = like.check(bytes.Clone(secret), &mac, user != nil, now, by.wait); who.reason == accepted {
		who.claims, who.client = user.claims, &user.client
	} else if who.reason != BusyWithPasswords {
		g.authority.charge(&by, passwordCost)
		g.authority.shared.failures.put(&id, 0, now, who.reason)
	}
	return who
}

// check hashes a password when there is a place for it.
func (u *basicUser) check(secret []byte, mac *digest, known bool, now time.Time, wait time.Duration) Reason {
	if !u.list.enter(wait) {
		return BusyWithPasswords
	}
	defer func() { <-u.list.slots }()
	if known && u.isProven(mac, now) { // by one that was here before
		return accepted
	}
	right := u.hash.Matches(secret)
	switch {
	case !known:
		return UnknownUser
	case !right:
		return WrongPassword
	}
	u.proven.Store(&proof{*mac, now.Add(provenLife)})
	return accepted
}

func (u *basicUser) isProven(mac *digest, now time.Time) bool {
	p := u.proven.Load()
	return p != nil && p.mac == *mac && now.Before(p.until)
}

// confidential reports that nobody reads a password on its way here: TLS, here or at a trusted proxy, or this machine.
func confidential(x *pipeline.Exchange) bool {
	return x.Secure || x.Peer.Addr().IsLoopback() && x.ClientIP.IsLoopback()
}

// isBasic reports the scheme, in any letter case (RFC 9110, 11.1).
func isBasic(field []byte) bool {
	const scheme = "basic"
	if len(field) < len(scheme) || len(field) > len(scheme) && field[len(scheme)] != ' ' {
		return false
	}
	for i := range scheme {
		if field[i]|0x20 != scheme[i] {
			return false
		}
	}
	return true
}

// basicPair decodes name and password of a Basic field into room. They end at the first colon: names hold none.
func basicPair(room, field []byte) (name, secret []byte, ok bool) {
	text := bytes.TrimLeft(field[len("basic"):], " ")
	if len(text) == 0 || base64.StdEncoding.DecodedLen(len(text)) > len(room) {
		return nil, nil, false
	}
	n, err := strictPadded.Decode(room, text)
	if err != nil || !isText(room[:n]) {
		return nil, nil, false
	}
	name, secret, ok = bytes.Cut(room[:n], []byte(":"))
	return name, secret, ok && len(name) <= maxUserName
}

var strictPadded = base64.StdEncoding.Strict()

// pairMAC is HMAC-SHA-256 of a name and a password under a key of this process: a dump of the table does not tell a password
// without it, and nobody can aim at a place in it.
func (s *shared) pairMAC(name, secret []byte) digest {
	const block = 64
	var inner [block + 2 + maxPair]byte
	var outer [block + sha256.Size]byte
	for i := range block {
		inner[i], outer[i] = 0x36, 0x5c
	}
	for i, c := range s.key {
		inner[i], outer[i] = c^0x36, c^0x5c
	}
	binary.BigEndian.PutUint16(inner[block:], uint16(len(name)))
	n := block + 2
	n += copy(inner[n:], name)
	n += copy(inner[n:], secret)
	sum := sha256.Sum256(inner[:n])
	copy(outer[block:], sum[:])
	return sha256.Sum256(outer[:])
}
