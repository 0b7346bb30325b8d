//go:build mutant_blind_finish

package mutant

// BlindFinish is switched on.
const BlindFinish = true
