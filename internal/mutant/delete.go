//go:build !mutant_delete_on_error

package mutant

// DeleteOnError: a failed attempt frees its key, whatever was sent.
const DeleteOnError = false
