//go:build race

package shed

const raceEnabled = true // simulations of minutes are played without it
