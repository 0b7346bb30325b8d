//go:build race

package leases

const raceEnabled = true // simulations of minutes are played without it
