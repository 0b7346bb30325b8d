//go:build !mutant_fail_open

package mutant

// FailOpen: a store that fails lets the write through unprotected.
const FailOpen = false
