//go:build !failpoint

package failpoint

// Enabled tells whether failpoints are built in.
const Enabled = false

// Hit does nothing in this build.
func Hit(string) {}

// Due does nothing in this build.
func Due(string) bool { return false }

// Kill does nothing in this build.
func Kill() {}
