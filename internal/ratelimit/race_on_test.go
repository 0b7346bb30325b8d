//go:build race

package ratelimit

const raceEnabled = true // sync.Pool forgets on purpose
