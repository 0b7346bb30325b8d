//go:build mutant_takeover

package mutant

// TakeoverExecutes is switched on.
const TakeoverExecutes = true
