//go:build mutant_fail_open

package mutant

// FailOpen is switched on.
const FailOpen = true
