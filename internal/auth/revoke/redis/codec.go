package redis

import (
	"crypto/sha256"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/auth/revoke"
)

var errStrange = errors.New("redis: an entry that no gateway wrote")

// The kinds of entries.
const (
	byID      = "j"
	bySession = "s"
	bySubject = "u"
)

// what is an entry without its times: kind, length of the issuer, issuer and value. It tells two entries apart.
func what(e *revoke.Entry) string {
	kind, value := byID, e.ID
	switch {
	case e.Session != "":
		kind, value = bySession, e.Session
	case e.Subject != "":
		kind, value = bySubject, e.Subject
	}
	return kind + " " + strconv.Itoa(len(e.Issuer)) + " " + e.Issuer + value
}

// idOf is a name of fixed length.
func idOf(what string) []byte {
	sum := sha256.Sum256([]byte(what))
	return sum[:]
}

// micros is 0 for no time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// parse reads "before until kind length issuer-and-value", as the script joins it.
func parse(text string) (e revoke.Entry, err error) {
	before, text, _ := strings.Cut(text, " ")
	until, text, _ := strings.Cut(text, " ")
	kind, text, _ := strings.Cut(text, " ")
	length, text, found := strings.Cut(text, " ")
	b, errB := strconv.ParseUint(before, 10, 62)
	u, errU := strconv.ParseUint(until, 10, 62)
	n, errN := strconv.ParseUint(length, 10, 31)
	if !found || errB != nil || errU != nil || errN != nil || n == 0 || int(n) >= len(text) {
		return e, errStrange
	}
	e.Issuer, e.Until = text[:n], time.UnixMicro(int64(u))
	switch kind {
	case byID:
		e.ID = text[n:]
	case bySession:
		e.Session = text[n:]
	case bySubject:
		e.Subject = text[n:]
		if b > 0 {
			e.Before = time.UnixMicro(int64(b))
		}
	default:
		return revoke.Entry{}, errStrange
	}
	return e, nil
}
