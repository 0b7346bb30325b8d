//go:build !mutant_takeover

package mutant

// TakeoverExecutes: a claim whose lease ran out is granted to the next attempt.
const TakeoverExecutes = false
