//go:build mutant_delete_on_error

package mutant

// DeleteOnError is switched on.
const DeleteOnError = true
