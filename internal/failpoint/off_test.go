//go:build !failpoint

package failpoint

import "testing"

func TestNormalBuildHasNoFailpoints(t *testing.T) {
	t.Setenv("ONCEGATE_FAILPOINT", "K1@1")
	if Enabled || Due(BeforeBegin) {
		t.Fatal("failpoints are built in")
	}
	Hit(BeforeBegin) // still here
}
