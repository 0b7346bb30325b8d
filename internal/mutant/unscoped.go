//go:build !mutant_unscoped

package mutant

// UnscopedKey: the client does not belong to the key.
const UnscopedKey = false
