//go:build race

package observe

const raceEnabled = true // sync.Pool forgets on purpose under the race detector
