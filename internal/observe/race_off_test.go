//go:build !race

package observe

const raceEnabled = false // sync.Pool forgets on purpose under the race detector
