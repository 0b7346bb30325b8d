package redis

import (
	"errors"
	"fmt"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/record"
)

// errUnsent marks what failed before a command was written: no connection, or not to a primary.
var errUnsent = errors.New("not sent")

// errShort: the primary has it, but not enough replicas said in time that they have it too.
var errShort = errors.New("too few replicas confirmed the write in time")

// refusals begin the error replies of a command that Redis did not execute, and of a script that had not written yet: a
// script's first write decides for all of them.
var refusals = []string{
	"READONLY", "LOADING", "OOM", "NOSCRIPT", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "MOVED", "ASK", "NOREPLICAS", "MISCONF",
	"BUSY", "NOAUTH", "NOPERM", "WRONGPASS", "CROSSSLOT",
}

// refuse says that nothing was changed.
func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{dedup.ErrRefused}, args...)...)
}

// failed wraps what a call ended with; with ErrRefused only if it is certain that nothing was executed.
func failed(op string, err error) error {
	switch {
	case says(err, "CORRUPT"):
		return refuse("%s: %w", op, record.ErrCorrupt)
	case unsent(err), refusedReply(err):
		return refuse("%s: %w", op, err)
	}
	return fmt.Errorf("dedup: redis: %s: %w", op, err)
}

func unsent(err error) bool {
	return errors.Is(err, errUnsent) || errors.Is(err, goredis.ErrPoolTimeout) || errors.Is(err, goredis.ErrClosed) ||
		errors.Is(err, goredis.ErrPoolExhausted)
}

func refusedReply(err error) bool {
	for _, word := range refusals {
		if says(err, word) {
			return true
		}
	}
	return false
}

// says tells whether err is Redis' own error reply that begins with a word.
func says(err error, word string) bool {
	var reply goredis.Error
	if !errors.As(err, &reply) {
		return false
	}
	rest, ok := strings.CutPrefix(reply.Error(), word)
	return ok && (rest == "" || rest[0] == ' ')
}

// redirection reads a MOVED or ASK reply: "MOVED 3999 127.0.0.1:6381".
func redirection(err error) (addr string, ask, ok bool) {
	var reply goredis.Error
	if !errors.As(err, &reply) {
		return "", false, false
	}
	parts := strings.Fields(reply.Error())
	if len(parts) < 3 || parts[0] != "MOVED" && parts[0] != "ASK" {
		return "", false, false
	}
	return parts[2], parts[0] == "ASK", true
}

// Why a step is not sent.
var (
	errClosed      = fmt.Errorf("%w: the store is closed", errUnsent)
	errNoPrimary   = fmt.Errorf("%w: no primary is known", errUnsent)
	errReplica     = fmt.Errorf("%w: %w", errUnsent, errNotPrimary)
	errDown        = fmt.Errorf("%w: the server did not answer lately", errUnsent)
	errPaused      = fmt.Errorf("%w: the primary has just changed", errUnsent)
	errFewReplicas = fmt.Errorf("%w: fewer replicas are online than wait_replicas asks for", errUnsent)
)
