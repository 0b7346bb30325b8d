// Package password reads hashes of passwords and checks passwords against them: argon2id (RFC 9106) in PHC form, and
// bcrypt.
//
// It promises that a hash that was read can be checked within about a second and 256 MiB, that it is not too weak to keep,
// and that two passwords of which one check takes long take equally long: nothing depends on whether a password is right. It
// stores nothing and bounds no number of checks at a time: that is the caller's.
package password

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// Bounds of argon2id: memory in KiB, and memory times passes, which is what a check takes time for.
const (
	minMemory   = 7 << 10
	maxMemory   = 256 << 10
	maxWork     = 1 << 20 // about a second on a slow core
	maxThreads  = 16
	minSalt     = 8
	maxSalt     = 64
	minDigest   = 16
	maxDigest   = 64
	maxHashText = 512
)

// Bounds of bcrypt's cost: 10 are about 50 ms, 14 about a second.
const (
	minCost = 10
	maxCost = 14
)

// maxBcrypt is what bcrypt looks at: longer passwords would be cut silently, so they are never right.
const maxBcrypt = 72

// Hash is the hash of one password. It is immutable.
type Hash struct {
	bcrypt []byte // nil: argon2id

	time, memory uint32
	threads      uint8
	salt, digest []byte
}

// ErrForm is a text that is neither a hash of argon2id nor one of bcrypt.
var ErrForm = errors.New("is neither a hash like $argon2id$v=19$m=19456,t=2,p=1$salt$hash nor one like $2b$12$... of bcrypt")

// Parse reads a hash. An error never quotes the text: it may be the password itself.
func Parse(text string) (*Hash, error) {
	switch {
	case len(text) > maxHashText:
		return nil, ErrForm
	case strings.HasPrefix(text, "$argon2id$"):
		return parseArgon(text)
	case strings.HasPrefix(text, "$argon2i$"), strings.HasPrefix(text, "$argon2d$"):
		return nil, errors.New("is of another kind of argon2 than argon2id")
	case strings.HasPrefix(text, "$2a$"), strings.HasPrefix(text, "$2b$"), strings.HasPrefix(text, "$2y$"):
		return parseBcrypt(text)
	}
	return nil, ErrForm
}

func parseArgon(text string) (*Hash, error) {
	part := strings.Split(text, "$") // "", argon2id, version, costs, salt, digest
	if len(part) != 6 {
		return nil, ErrForm
	}
	if part[2] != "v=19" {
		return nil, errors.New("is of another version of argon2id than 19")
	}
	costs := strings.Split(part[3], ",")
	var cost [3]uint64
	if len(costs) != len(cost) {
		return nil, ErrForm
	}
	for i, name := range []string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(costs[i], name)
		n, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || digits != strconv.FormatUint(n, 10) {
			return nil, ErrForm
		}
		cost[i] = n
	}
	h := &Hash{memory: uint32(cost[0]), time: uint32(cost[1])}
	var errSalt, errDigest error
	h.salt, errSalt = unpadded.DecodeString(part[4])
	h.digest, errDigest = unpadded.DecodeString(part[5])
	if errSalt != nil || errDigest != nil || strings.ContainsAny(text, "\r\n") {
		return nil, ErrForm
	}
	if cost[2] < 1 || cost[2] > maxThreads {
		return nil, fmt.Errorf("has p=%d: from 1 to %d are taken", cost[2], maxThreads)
	}
	h.threads = uint8(cost[2])
	return h, h.bounded()
}

func (h *Hash) bounded() error {
	switch {
	case h.memory < minMemory || h.memory > maxMemory:
		return fmt.Errorf("has m=%d: from %d (7 MiB) to %d (256 MiB) are taken", h.memory, minMemory, maxMemory)
	case h.time < 1 || uint64(h.time)*uint64(h.memory) > maxWork:
		return fmt.Errorf("has m=%d,t=%d: m times t is to be from 1 to %d, about a second of work", h.memory, h.time, maxWork)
	case len(h.salt) < minSalt || len(h.salt) > maxSalt:
		return fmt.Errorf("has a salt of %d bytes: from %d to %d are taken", len(h.salt), minSalt, maxSalt)
	case len(h.digest) < minDigest || len(h.digest) > maxDigest:
		return fmt.Errorf("has a hash of %d bytes: from %d to %d are taken", len(h.digest), minDigest, maxDigest)
	}
	return nil
}

func parseBcrypt(text string) (*Hash, error) {
	const length = len("$2b$12$") + 53
	if len(text) != length || text[6] != '$' {
		return nil, ErrForm
	}
	cost, err := strconv.ParseUint(text[4:6], 10, 8)
	if err != nil {
		return nil, ErrForm
	}
	if cost < minCost || cost > maxCost {
		return nil, fmt.Errorf("has cost %d: from %d to %d are taken", cost, minCost, maxCost)
	}
	for _, c := range []byte(text[7:]) {
		if letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'; !letter && c != '.' && c != '/' {
			return nil, ErrForm
		}
	}
	return &Hash{bcrypt: []byte(text)}, nil
}

// Matches hashes a password and compares. It takes as long for a wrong password as for the right one.
func (h *Hash) Matches(password []byte) bool {
	if h.bcrypt != nil {
		return len(password) <= maxBcrypt && bcrypt.CompareHashAndPassword(h.bcrypt, password) == nil
	}
	got := argon2.IDKey(password, h.salt, h.time, h.memory, h.threads, uint32(len(h.digest)))
	return subtle.ConstantTimeCompare(got, h.digest) == 1
}

var unpadded = base64.RawStdEncoding.Strict()

// New hashes a password with argon2id, 19 MiB and two passes, and a random salt.
func New(password []byte) string {
	const memory, time, threads = 19456, 2, 1
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	digest := argon2.IDKey(password, salt, time, memory, threads, 32)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memory, time, threads, unpadded.EncodeToString(salt), unpadded.EncodeToString(digest))
}
