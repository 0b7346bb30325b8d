//go:build !mutant_lease_ttl

package mutant

// RecordDiesWithLease: a record in flight lives only as long as its lease.
const RecordDiesWithLease = false
