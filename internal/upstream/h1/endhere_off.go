//go:build !failpoint

package h1

// endHere does nothing in this build.
func (*call) endHere() {}
