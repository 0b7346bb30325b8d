package mutant

import "testing"

func TestNormalBuildHasNoMutant(t *testing.T) {
	if TakeoverExecutes || RecordDiesWithLease || BlindFinish || DeleteOnError || FailOpen || TransportRetries || UnscopedKey {
		t.Fatal("a defect is switched on: tests of a mutant build prove nothing")
	}
}
