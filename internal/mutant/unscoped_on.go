//go:build mutant_unscoped

package mutant

// UnscopedKey is switched on.
const UnscopedKey = true
