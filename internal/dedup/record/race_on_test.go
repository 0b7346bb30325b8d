//go:build race

package record

const underRace = true
