//go:build mutant_lease_ttl

package mutant

// RecordDiesWithLease is switched on.
const RecordDiesWithLease = true
