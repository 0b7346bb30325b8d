package auth

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/oncegate/oncegate/internal/auth/password"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// basicUser is one user. It is immutable apart from what was last proven, and owns its strings.
type basicUser struct {
	list   *userList
	hash   *password.Hash
	text   string // of the hash
	client pipeline.Client
	claims *claims
	proven atomic.Pointer[proof]
}

// proof is a pair of name and password that was right.
type proof struct {
	mac   digest
	until time.Time
}

// userList is one list of users with the places for checks of passwords, which take time and memory on purpose.
type userList struct {
	cfg     BasicUsersConfig
	profile uint64 // changes with the list: what failed under another one is tried again
	users   map[string]*basicUser
	slots   chan struct{}
	waiting atomic.Int32
}

// newUserLists compiles basic_users. A list that has not changed is taken over, as is what was proven of a user that has not.
func (a *Authority) newUserLists(lists map[string]BasicUsersConfig, old *Authority) (map[string]*userList, error) {
	all := make(map[string]*userList, len(lists))
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		before := old.users[name]
		if before != nil && reflect.DeepEqual(before.cfg, lists[name]) {
			all[name] = before
			continue
		}
		l, err := newUserList(name, lists[name], before)
		if err != nil {
			return nil, fmt.Errorf("basic_users %s: %w", name, err)
		}
		l.profile = a.shared.cache.profiles.Add(1)
		all[name] = l
	}
	return all, nil
}

func newUserList(name string, cfg BasicUsersConfig, before *userList) (*userList, error) {
	if !isKeyName(name) {
		return nil, fmt.Errorf("the name holds other than letters, digits and -_.@")
	}
	l := &userList{cfg: cfg, users: make(map[string]*basicUser, len(cfg.Users)), slots: make(chan struct{}, max(1, cfg.AtOnce))}
	for i := range cfg.Users {
		row := &cfg.Users[i]
		hash, err := password.Parse(row.Hash.Reveal())
		switch {
		case err != nil:
			return nil, fmt.Errorf("user %q: the hash %w", row.Name, err)
		case !isUserName(row.Name):
			return nil, fmt.Errorf("%q is not a user name", row.Name)
		case l.users[row.Name] != nil:
			return nil, fmt.Errorf("user %q stands here twice", row.Name)
		}
		u := &basicUser{list: l, hash: hash, text: row.Hash.Reveal(), claims: grantedClaims(row.Name, row.Scopes, row.Claims)}
		u.client = pipeline.Client{Identity: BasicIdentity(name, row.Name), Subject: row.Name, Issuer: name, Claims: u.claims}
		if before != nil && before.users[row.Name] != nil && before.users[row.Name].text == u.text {
			u.proven.Store(before.users[row.Name].proven.Load())
		}
		l.users[row.Name] = u
	}
	if len(l.users) == 0 {
		return nil, fmt.Errorf("the list holds no user")
	}
	return l, nil
}

// BasicIdentity is the text of the identity of a user of basic_users: no token's and no key's, see CertificateIdentity.
func BasicIdentity(list, name string) string { return "basic:" + list + "|" + name }

// isUserName is user-id of RFC 7617 in UTF-8: without control characters, colons and outer spaces.
func isUserName(name string) bool {
	if len(name) > maxUserName || name == "" || name[0] == ' ' || name[len(name)-1] == ' ' {
		return false
	}
	return isText(name) && !strings.Contains(name, ":")
}

// isText is valid UTF-8 without control characters.
func isText[T string | []byte](text T) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] == 0x7f {
			return false
		}
	}
	return utf8.ValidString(string(text))
}

// enter waits for a place. So many may wait, and for so long.
func (l *userList) enter(wait time.Duration) bool {
	select {
	case l.slots <- struct{}{}:
		return true
	default:
	}
	if l.waiting.Add(1) > maxWaiting || wait <= 0 {
		l.waiting.Add(-1)
		return false
	}
	defer l.waiting.Add(-1)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case l.slots <- struct{}{}:
		return true
	case <-timer.C:
		return false
	}
}

// HashPassword gives the hash of a password as basic_users takes it: argon2id. An error says why nobody could ever send it.
func HashPassword(text string) (string, error) {
	switch {
	case text == "":
		return "", errors.New("is empty")
	case len(text) > maxPair-maxUserName-1:
		return "", fmt.Errorf("is longer than %d bytes", maxPair-maxUserName-1)
	case !isText(text):
		return "", errors.New("holds control characters, or is not UTF-8")
	}
	return password.New([]byte(text)), nil
}
