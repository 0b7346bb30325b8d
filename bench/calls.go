package main

import (
	"context"
	"crypto/rand"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// calls is a client that does nothing but two calls of a small script for each write, of the sizes that a claim and a result have.
type calls struct {
	client *goredis.Client
	origin *origin
	sha    string
}

// The least that a step could be: the hash, and how long it lives.
const leastScript = `redis.call('HSET', KEYS[1], 'r', ARGV[1]) return redis.call('PEXPIRE', KEYS[1], ARGV[2])`

func openCalls(client *goredis.Client, o *origin) (*calls, error) {
	sha, err := client.ScriptLoad(context.Background(), leastScript).Result()
	return &calls{client, o, sha}, err
}

const (
	claimSize = 160 // fingerprint, token, subject, route and instants
	keepFor   = int64(72 * time.Hour / time.Millisecond)
)

func (c *calls) load(n int, write func(ctx context.Context) error) (pace, error) {
	return paced(connections, n, func() (func() error, func(), error) {
		ctx := context.Background()
		return func() error { return write(ctx) }, nil, nil
	})
}

// args are a key as long as the gateway's, and what a claim and a result hold.
func (c *calls) args() (key []string, claim, result []byte) {
	name := make([]byte, 32)
	rand.Read(name)
	from := c.origin.some()
	return []string{"bare:" + string(name)}, from[:claimSize], append(from, from[:claimSize]...)
}

// apart waits for the first answer before it sends the second call, as a write must: the upstream comes in between.
func (c *calls) apart(ctx context.Context) error {
	key, claim, result := c.args()
	if err := c.client.EvalSha(ctx, c.sha, key, claim, keepFor).Err(); err != nil {
		return err
	}
	return c.client.EvalSha(ctx, c.sha, key, result, keepFor).Err()
}

// together sends both calls in one pipeline, which no write can.
func (c *calls) together(ctx context.Context) error {
	key, claim, result := c.args()
	pipe := c.client.Pipeline()
	pipe.EvalSha(ctx, c.sha, key, claim, keepFor)
	pipe.EvalSha(ctx, c.sha, key, result, keepFor)
	_, err := pipe.Exec(ctx)
	return err
}
