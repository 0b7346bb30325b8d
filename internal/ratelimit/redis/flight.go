package redis

import (
	"context"
	"errors"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/oncegate/oncegate/internal/redisconn"
)

// How a round trip ended, for the recorder.
const (
	resultOK      = "ok"
	resultFailed  = "failed"
	resultRefused = "refused" // not sent
)

const maxHops = 8 // while a slot is handed over two servers may each say that the other one has it

// maxRounds: the calls, those without their script again, and once more if the scripts were flushed between.
const maxRounds = 3

// trip sends a batch as one pipeline. Only calls that certainly were not executed are sent again.
func (n *node) trip(ctx context.Context, batch []*call, begin time.Time) {
	size, failed := len(batch), (*call)(nil)
	probes := batch[0].probe
	for round := range maxRounds {
		cmds, broken := n.pipe(ctx, batch, round)
		again := batch[:0:0]
		for i, c := range batch {
			value, err := cmds[i].Result()
			if err == nil && value == nil {
				err = broken // go-redis leaves calls without their error when a new connection could not be set up
			}
			if says(err, "NOSCRIPT") && round < maxRounds-1 {
				again = append(again, c)
				continue
			}
			if !c.probe && fault(err) {
				failed = c
			}
			n.settle(c, value, err)
		}
		if batch = again; len(batch) == 0 {
			break
		}
	}
	result := resultOK
	if failed != nil {
		result = resultFailed
		n.owner.fleet.refresh()
	}
	n.owner.rec.StoreCalls(result, size, time.Since(begin))
	if failed != nil {
		n.judge(false, failed.key, begin)
	} else if size > 1 || !probes {
		n.judge(true, "", begin)
	}
}

// pipe does one round trip. The first round has scripts by name; in the second the first call of each script brings the text,
// which the others find there; the last one brings it with all.
func (n *node) pipe(ctx context.Context, batch []*call, round int) ([]*goredis.Cmd, error) {
	pipe := n.client.Pipeline()
	cmds := make([]*goredis.Cmd, len(batch))
	var brought []*script
	for i, c := range batch {
		if c.asking {
			_ = pipe.Process(ctx, goredis.NewCmd(ctx, "asking"))
		}
		verb, name := "evalsha", c.script.sha
		if round == maxRounds-1 || round > 0 && !contains(brought, c.script) {
			verb, name = "eval", c.script.text
			brought = append(brought, c.script)
		}
		args := make([]any, 0, 4+len(c.args))
		args = append(append(args, verb, name, 1, c.key), c.args...)
		cmds[i] = goredis.NewCmd(ctx, args...)
		_ = pipe.Process(ctx, cmds[i])
	}
	_, err := pipe.Exec(ctx)
	return cmds, err
}

func contains(list []*script, s *script) bool {
	for _, have := range list {
		if have == s {
			return true
		}
	}
	return false
}

// settle answers a call, or sends it to where the cluster says that it belongs: nothing was executed then.
func (n *node) settle(c *call, value any, err error) {
	if err != nil && c.hops < maxHops && !c.probe && time.Until(c.due) > slotBackoff {
		if addr, ask, ok := redirection(err); ok {
			c.hops, c.asking = c.hops+1, ask
			n.owner.fleet.redirect(c, addr)
			return
		}
	}
	c.done(value, err)
}

// redirection reads "MOVED 3999 127.0.0.1:6381" and "ASK ...".
func redirection(err error) (addr string, ask, ok bool) {
	if ask = says(err, "ASK"); !ask && !says(err, "MOVED") {
		return "", false, false
	}
	fields := strings.Fields(err.Error())
	if len(fields) < 3 {
		return "", false, false
	}
	return fields[2], ask, true
}

// faults begin the error replies of a server that can't serve now.
var faults = []string{
	"READONLY", "LOADING", "OOM", "CLUSTERDOWN", "MASTERDOWN", "NOREPLICAS", "MISCONF", "BUSY", "NOAUTH", "NOPERM", "WRONGPASS",
	"UNKILLABLE",
}

// fault tells whether an error says something of the server, and not of one call.
func fault(err error) bool {
	var reply goredis.Error
	if err == nil || errors.Is(err, goredis.Nil) {
		return false
	}
	if !errors.As(err, &reply) {
		return true
	}
	for _, word := range faults {
		if says(err, word) {
			return true
		}
	}
	return false
}

func says(err error, word string) bool { return redisconn.Says(err, word) }
